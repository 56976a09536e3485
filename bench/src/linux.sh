#!/bin/bash
# What `vireo bench --guest linux` runs in a Debian guest, as root, with the console as its output: real programs on fixed
# inputs. Says what the benchmark guest says (src/protocol.rs); ticks are microseconds. A program that a guest lacks is
# skipped, a wrong result is one.
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec 2>/tmp/errors
cd /tmp || exit

only=
for word in $(cat /proc/cmdline); do
    case $word in
    bench.only=*) only=${word#bench.only=} ;;
    esac
done

now() { now=${EPOCHREALTIME/./}; }

echo "@guest version=1 harts=$(nproc) timebase=1000000 isa=$(sed -n 's/^isa[^:]*: *//p;/^isa/q' /proc/cpuinfo | head -n 1)"

# run NAME PROGRAM WHAT WANTED COMMAND...: the command's standard output has the SHA-256 that begins with WANTED.
run() {
    local name=linux/$1 program=$2 what=$3 wanted=$4
    shift 4
    case $name in *"$only"*) ;; *) return ;; esac
    if ! type "$program" > /dev/null; then
        echo "@skip $name reason=the guest has no $program"
        return
    fi
    echo "@bench $name unit=run what=$what"
    # Once for the page cache: what is measured is the processor, not the disk.
    "$@" > /dev/null < /dev/null
    echo "@begin $name"
    now; local start=$now
    "$@" > output < /dev/null
    now
    local got
    got=$(sha256sum < output); got=${got:0:12}
    local check="check=ok"
    if [ "$got" != "$wanted" ]; then check="check=bad got=$got want=$wanted"; fi
    echo "@end $name n=1 ticks=$((now - start)) $check"
}

# 0.9 MB of text that compresses as text does, the same everywhere.
awk 'BEGIN { s = 1; for (i = 0; i < 60000; i++) { s = (s * 1103515245 + 12345) % 2147483648; print "line", i, s % 1000 } }' > text

shell() { local i=0 s=0; while [ $i -lt 20000 ]; do s=$(((s * 31 + i) % 65521)); i=$((i + 1)); done; echo $s; }
execs() { local i=0; while [ $i -lt 100 ]; do /bin/true || echo failed; i=$((i + 1)); done; echo $i; }
pipes() { local i=0; while [ $i -lt 20 ]; do seq 1 200 | sort -rn | head -n 1; i=$((i + 1)); done; }
python() {
    python3 -c '
import json, re
d = {}
for i in range(60000):
    k = "key%d" % (i * 7919 % 1009)
    d[k] = d.get(k, 0) + i % 13
s = json.dumps(d, sort_keys=True)
print(len(s), sum(map(int, re.findall(r"\d+", s))), sum(x * x for x in range(100000)))'
}
perls() { perl -e 'my %h; for my $i (1..120000) { $h{$i * 7919 % 1009} .= chr(97 + $i % 26); } my $n = 0; for (sort { $a <=> $b } keys %h) { $n += () = $h{$_} =~ /a.c/g; } print "$n\n"'; }
sql() {
    sqlite3 :memory: 'create table t(a integer primary key, b int);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000) insert into t select i, i * 7919 % 1009 from n;
        create index tb on t(b); select count(*), sum(a) from t where b < 100; select b, count(*) from t group by b order by 2 desc, 1 limit 3;'
}
cat > prog.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int main(void) {
    static int v[4096]; unsigned s = 1; char line[64];
    for (int i = 0; i < 4096; i++) { s = s * 1664525u + 1013904223u; v[i] = (int)(s >> 8); }
    qsort(v, 4096, sizeof *v, compare);
    snprintf(line, sizeof line, "%d %d", v[0], v[4095]); puts(line); return (int)strlen(line) & 0;
}
C
compile() { gcc -O2 -o prog prog.c && ./prog; }
hash() { local i; for i in 1 2 3 4; do openssl dgst -sha256 -r text; done; }
cipher() { openssl enc -aes-128-ctr -K 000102030405060708090a0b0c0d0e0f -iv 00000000000000000000000000000000 -in text | tail -c 64; }

run shell bash 'bash: 20,000 turns of a loop' ce48d5cb2d08 shell
run execs bash 'bash: 100 programs, one after the other' eea8254c7500 execs
run pipes sort 'bash: 20 pipes of three programs' 52dbf308799f pipes
run python python3 'python3: dictionaries, JSON, regular expressions' c11904907c28 python
run perl perl 'perl: hashes and regular expressions' 9a271f2a916b perls
run sqlite sqlite3 'sqlite3: 40,000 rows, an index, two queries' 3c8f4737984f sql
run gcc gcc 'gcc -O2: compile, link and run a small program' d98ad5bddb91 compile
run sha256 openssl 'openssl: SHA-256 of 4 MB' 522d3215cf1a hash
run aes openssl 'openssl: AES-128-CTR of 0.9 MB' 03c0c6353e31 cipher
run gzip gzip 'gzip: 0.9 MB of text and back' 6ab5c1eb011f sh -c 'gzip -6 -c text | gzip -d -c'
run bzip2 bzip2 'bzip2: 0.9 MB of text and back' 6ab5c1eb011f sh -c 'bzip2 -c text | bzip2 -d -c'
run xz xz 'xz -1: 0.9 MB of text and back' 6ab5c1eb011f sh -c 'xz -1 -c text | xz -d -c'
run zstd zstd 'zstd: 0.9 MB of text and back' 6ab5c1eb011f sh -c 'zstd -q -c text | zstd -d -q -c'
run awk awk 'awk: fields and sums of 60,000 lines' 623c4e4ad6b3 awk '{ s[$3 % 97] += $2 } END { for (i = 0; i < 97; i++) t += s[i] * i; printf "%.0f\n", t }' text
echo "@done"
