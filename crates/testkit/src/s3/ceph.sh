# Inside the chroot, /srv is the test's directory: a monitor, one OSD in memory, the gateway. No mgr is needed.
lib=$(dirname "$(find /usr/lib -name rados-classes -type d | head -n 1)")
cd /srv
uuid=$(cat /proc/sys/kernel/random/uuid)
# The default of "osd class dir" is a relative path, and no class would be found. A monitor that finds less than 5 % of a
# disk free does not begin, however large the disk is.
cat > /srv/ceph.conf <<EOF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = [v2:127.0.0.1:$MON1,v1:127.0.0.1:$MON2]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = /srv/kr
run dir = /srv
admin socket = /srv/\$name.asok
log file = /srv/\$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 0
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
osd class dir = $lib/rados-classes
mon data = /srv/mon
osd data = /srv/osd
[client.rgw.x]
rgw frontends = beast endpoint=127.0.0.1:$PORT$(cat /srv/guarded.conf 2> /dev/null || true)
EOF
export CEPH_CONF=/srv/ceph.conf
mkdir -p /srv/mon /srv/osd
ceph-authtool --create-keyring /srv/kr --gen-key -n mon. --cap mon 'allow *'
ceph-authtool /srv/kr --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' --cap mds 'allow *'
ceph-authtool /srv/kr --gen-key -n client.rgw.x --cap mon 'allow *' --cap osd 'allow *'
ceph-authtool /srv/kr --gen-key -n osd.0 --cap mon 'allow *' --cap osd 'allow *'
fsid=$(sed -n 's/^fsid = //p' /srv/ceph.conf)
monmaptool --create --addv x "[v2:127.0.0.1:$MON1,v1:127.0.0.1:$MON2]" --fsid "$fsid" /srv/monmap
ceph-mon --mkfs -i x --monmap /srv/monmap --keyring /srv/kr
ceph-mon -f -i x &
ceph osd new "$uuid"
ceph-osd --mkfs -i 0 --osd-uuid "$uuid"
ceph-osd -f -i 0 &
until ceph osd stat | grep -q '1 up'; do sleep 0.1; done
radosgw-admin -n client.rgw.x user create --uid u1 --display-name U1 --caps 'user-policy=*' --access-key "$ACCESS_KEY" --secret-key "$SECRET_KEY"
exec radosgw -f -n client.rgw.x
