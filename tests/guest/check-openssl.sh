# Hashes, ciphers, public keys and their refusals.
set -e
seq 20000 > numbers
for h in sha1 sha256 sha512 sha3-256 blake2b512 sm3; do openssl dgst -$h -r numbers; done
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f iv=000102030405060708090a0b0c0d0e0f
# A cipher and the hexadecimal digits of its key.
while read -r c digits; do
    openssl enc -$c -K $(echo $key | cut -c 1-$digits) -iv $iv -in numbers -out sealed
    openssl dgst -sha256 -r sealed
    openssl enc -d -$c -K $(echo $key | cut -c 1-$digits) -iv $iv -in sealed | cmp - numbers && echo "$c there and back"
done << end
aes-128-ctr 32
aes-192-cbc 48
aes-256-cbc 64
aes-256-ctr 64
chacha20 64
camellia-256-cbc 64
sm4-cbc 32
end
openssl genpkey -algorithm ED25519 -out ed.pem 2> /dev/null
openssl pkeyutl -sign -inkey ed.pem -rawin -in numbers -out signature
openssl pkeyutl -verify -inkey ed.pem -rawin -in numbers -sigfile signature
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem 2> /dev/null
openssl dgst -sha256 -sign rsa.pem -out signature numbers
openssl rsa -in rsa.pem -pubout -out public.pem 2> /dev/null
openssl dgst -sha256 -verify public.pem -signature signature numbers
echo changed >> numbers
openssl dgst -sha256 -verify public.pem -signature signature numbers 2> /dev/null || echo "a change is noticed"
