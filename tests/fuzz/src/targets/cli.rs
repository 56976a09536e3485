//! The command line; an input has a word a line.

use vmm::cli::{self, Command};

use super::one_line;
use crate::Target;

pub const COMMAND_LINE: Target =
    Target { name: "command-line", rounds: 8000, seeds, words: WORDS, open: || Box::new(parse) };

const WORDS: &[&[u8]] = &[
    b"\n-M\nvirt,",
    b"\n-cpu\nmax,",
    b"\n-smp\n",
    b"\n-m\n",
    b"\n-accel\ntcg,",
    b"\n-device\nvirtio-blk-device,drive=d,",
    b"\n-drive\nfile=x,id=d,if=none,",
    b"\n-netdev\nuser,id=n,",
    b"\n-nic\nuser,hostfwd=",
    b"\n-chardev\nsocket,id=c,",
    b"\n-serial\n",
    b"\n-monitor\n",
    b"\n-gdb\n",
    b"\n-incoming\n",
    b"\n-object\nmemory-backend-file,id=m,",
    b"\n-global\n",
    b"\n-append\n",
    b"\n-icount\nshift=",
    b"=on",
    b"=off",
    b"=18446744073709551616",
    b"=-1",
    b"=0x",
    b",,",
    b"help",
    b"1T",
    b"4294967296G",
    b"\xff",
];

fn seeds() -> Vec<Vec<u8>> {
    let lines = [
        "-smp\n4,sockets=2,cores=2,affinity=0@2:1-3@4-5+7\n-m\n2G\n-kernel\nImage\n-initrd\ni.gz\n-append\nconsole=ttyS0 a=b,c",
        "-M\nvirt,aia=aplic-imsic,aia-guests=3,aclint=on,snapshots=/tmp,memory-backend=r\n-bios\nnone\n-object\n\
         memory-backend-memfd,id=r,size=1G,hugetlb=on,hugetlbsize=2M,prealloc=on,host-nodes=0-1,policy=bind\n-m\n1G",
        "-cpu\nrva23s64,vlen=256,zbb=off,+sscofpmf,-v,pmu-mask=0xff,pmp=4\n-accel\nkvm\n-accel\ntcg,tb-size=64,one-insn-per-tb=on",
        "-drive\nfile=a.img,format=raw,if=none,id=d,snapshot=on,cache=none,aio=io_uring,readonly=on\n-device\n\
         virtio-blk-device,drive=d,serial=x,num-queues=2,bus=virtio-mmio-bus.3\n-drive\nif=pflash,file=f,unit=1",
        "-netdev\nuser,id=n,net=10.0.2.0/24,hostfwd=tcp:127.0.0.1:2222-:22,guestfwd=tcp:10.0.2.100:80-cmd:cat,restrict=on,tftp=/x\n\
         -device\nvirtio-net-device,netdev=n,mac=52:54:00:12:34:56,mrg_rxbuf=off\n-nic\ntap,ifname=t,script=no",
        "-chardev\nsocket,id=c,path=/s,server=on,wait=off\n-mon\nchardev=c,mode=control,pretty=on\n-serial\nmon:stdio\n\
         -device\nvirtio-serial-device,max_ports=3\n-device\nvirtserialport,chardev=c,nr=2,name=x\n-gdb\ntcp::1234\n-S",
        "-incoming\ntcp:0:4444\n-loadvm\nx\n-name\ng,process=p\n-pidfile\np\n-rtc\nbase=2020-01-01T00:00:00\n-d\nboot,sbi\n-D\nlog",
        "-device\nhelp\n-cpu\nhelp\n-accel\nhelp\n-h\n-version\n-M\nspike,signature=s,signature-granularity=4\n-semihosting-config\n\
         enable=on,userspace=on,arg=a,arg=b\n-icount\nshift=1\n-no-reboot\n-no-shutdown\n-global\nvirtio-mmio.force-legacy=on",
    ];
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

fn parse(input: &[u8]) {
    let words: Vec<_> = String::from_utf8_lossy(input).split('\n').map(str::to_owned).collect();
    match cli::parse(&words) {
        Ok(Command::Run(_)) => {}
        Ok(Command::Print(text)) => assert!(!text.is_empty()),
        Err(error) => one_line(&error.to_string()),
    }
}
