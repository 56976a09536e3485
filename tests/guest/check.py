"""Exercises an interpreter of a real language: integers, floats, text, hashes, threads, compression, sorting."""
import decimal, hashlib, json, math, random, re, struct, threading, zlib

print(sum(i * i for i in range(100000)), math.factorial(200) % 10**30)
print(hashlib.sha256(b"x" * 100000).hexdigest(), hashlib.md5(bytes(range(256)) * 50).hexdigest())
print([repr(math.sqrt(x)) for x in (2, 3, 1e300, 5e-324)], repr(0.1 + 0.2), repr(1e16 / 3))
print([(0.75 * k).hex() for k in (1, 3, -7)])
print(struct.pack("<dfqi", math.pi, 1.1, -(2**62), -5).hex(), float("nan") != float("nan"))
rng = random.Random(7)
data = [rng.random() for _ in range(20000)]
print(repr(math.fsum(data)), sorted(data)[::4999])
text = json.dumps({"a": [1, 2.5, None, True], "b": "\u00e9\u4e2d"}, sort_keys=True)
print(text, json.loads(text) == {"a": [1, 2.5, None, True], "b": "\u00e9\u4e2d"})
packed = zlib.compress(bytes(rng.randrange(16) for _ in range(200000)))
print(zlib.crc32(zlib.decompress(packed)))
print(re.sub(r"(\w+) (\w+)", r"\2 \1", "hello world " * 3), decimal.Decimal(1).exp())
total, lock = [0], threading.Lock()
def work():
    for _ in range(2000):
        with lock:
            total[0] += 1
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(total[0], 2**521 % 1000007, pow(3, 10**18, 10**9 + 7))
