#!/bin/sh
# Makes the certificates of this folder: an authority, the server 127.0.0.1 that it signed, and an authority of nobody.
set -e
ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500"
openssl req -x509 $ec -keyout ca.key -out ca.pem -subj "/CN=test authority"
openssl req -x509 $ec -keyout other.key -out other.pem -subj "/CN=test authority"
openssl req $ec -keyout server.key -out server.csr -subj "/CN=test server"
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' > server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 36500 -extfile server.ext -out server.pem
rm -f ca.key other.key server.csr server.ext ca.srl
