# Inside the chroot, /srv is the test's directory: the gateway alone, over a database in a file.
cat > /srv/ceph.conf <<EOF
[global]
run dir = /srv
admin socket = /srv/\$name.asok
log file = /srv/\$name.log
keyring = /srv/kr
rgw backend store = dbstore
rgw config store = dbstore
dbstore db dir = /srv
dbstore config uri = file:/srv/config.db
rgw data = /srv
rgw frontends = beast endpoint=127.0.0.1:$PORT
EOF
export CEPH_CONF=/srv/ceph.conf
radosgw-admin --no-mon-config -n client.rgw.x user create --uid u1 --display-name U1 --access-key "$ACCESS_KEY" --secret-key "$SECRET_KEY"
exec radosgw --no-mon-config -f -n client.rgw.x
