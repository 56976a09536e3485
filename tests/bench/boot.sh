#!/bin/sh
# Boot and loops on vireo and on QEMU by turns, on the same guest; prints a table of medians.
# Arguments are passed on: --runs N, --qemu FILE, --vireo FILE.
cd "$(dirname "$0")/../.." && exec cargo kit bench-boot "$@"
