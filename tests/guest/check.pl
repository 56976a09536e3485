# Numbers, text, sorting and packing in Perl.
use strict; use warnings; use Digest::SHA qw(sha1_hex); use List::Util qw(sum reduce); use POSIX qw(fmod floor);
my @n = map { ($_ * 7919) % 10007 } 1 .. 5000;
print sum(@n), " ", join(",", (sort { $a <=> $b } @n)[0, 99, 4999]), "\n";
printf "%.17g %.17g %.17g\n", sqrt(2), 1 / 3, atan2(1, 1) * 4;
print sha1_hex(join ",", @n), " ", unpack("H*", pack("d<q<n", 1.5, -3, 65535)), "\n";
my %count; $count{$_}++ for map { length } split / /, "the quick brown fox jumps over the lazy dog" x 50;
print join(" ", map { "$_=$count{$_}" } sort { $a <=> $b } keys %count), "\n";
print reduce { ($a * 31 + $b) % 1000003 } 7, @n; print " ", fmod(1e10, 7), " ", floor(-2.5), "\n";
(my $s = "a1b22c333") =~ s/(\d+)/<$1>/g; print "$s ", 2 ** 53, " ", 9007199254740993 & 0xffff, "\n";
