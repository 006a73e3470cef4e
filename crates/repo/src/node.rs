//! One entry of a tree, as JSON.
//!
//! Form: restic's node: `name` (see [`crate::go_quote`]), `type`, `mode` (Go's `os.FileMode` bits), times in
//! RFC 3339 with nanoseconds, owner, `inode`, `links`, `linktarget`, `extended_attributes`, `device`, `content`
//! (blob ids, never null for a file), `subtree`. Source: restic's design document, "Trees and Data". Invariant:
//! a node that we accept has a plain name, so it can never point outside its directory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::digest::Digest;
use model::entry::{Entry, EntryKind, Metadata, Xattr, is_plain_name};
use serde::{Deserialize, Serialize};

use crate::blob::BlobId;
use crate::go_quote;

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name, kind and metadata.
    pub entry: Entry,
    /// The pieces of a file, in order.
    pub content: Vec<BlobId>,
    /// The tree of a directory.
    pub subtree: Option<BlobId>,
}

// Go's os.FileMode: the type and the three special bits stand at the top, permissions below.
const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_FIFO: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SUID: u32 = 1 << 23;
const GO_SGID: u32 = 1 << 22;
const GO_CHAR: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;
const SPECIAL: [(u32, u32); 3] = [(0o4000, GO_SUID), (0o2000, GO_SGID), (0o1000, GO_STICKY)];

#[derive(Serialize, Deserialize)]
pub(crate) struct NodeForm {
    name: String,
    r#type: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    mode: u32,
    #[serde(default)]
    mtime: Timestamp,
    #[serde(default)]
    atime: Timestamp,
    #[serde(default)]
    ctime: Timestamp,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    inode: u64,
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    device_id: u64,
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    size: u64,
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    links: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    linktarget: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linktarget_raw: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    extended_attributes: Option<Vec<XattrForm>>,
    #[serde(default, skip_serializing_if = "is_zero_u64")]
    device: u64,
    #[serde(default)]
    content: Option<Vec<Digest>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subtree: Option<Digest>,
}

#[derive(Serialize, Deserialize)]
struct XattrForm {
    name: String,
    value: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_zero_u64(number: &u64) -> bool {
    *number == 0
}

impl From<&Node> for NodeForm {
    fn from(node: &Node) -> Self {
        let Entry { name, kind, metadata } = &node.entry;
        let (r#type, go_type, device, target) = match kind {
            EntryKind::File => ("file", 0, 0, None),
            EntryKind::Directory => ("dir", GO_DIR, 0, None),
            EntryKind::Symlink { target } => ("symlink", GO_SYMLINK, 0, Some(target)),
            EntryKind::BlockDevice { device } => ("dev", GO_DEVICE, *device, None),
            EntryKind::CharDevice { device } => ("chardev", GO_DEVICE | GO_CHAR, *device, None),
            EntryKind::Fifo => ("fifo", GO_FIFO, 0, None),
            EntryKind::Socket => ("socket", GO_SOCKET, 0, None),
        };
        let special = SPECIAL.iter().filter(|(unix, _)| metadata.mode & unix != 0).map(|(_, go)| go);
        let xattr = |xattr: &Xattr| XattrForm {
            name: xattr.name.clone(),
            value: Some(STANDARD.encode(&xattr.value)),
        };
        Self {
            name: go_quote::quote(name),
            r#type: r#type.to_owned(),
            mode: go_type | special.sum::<u32>() | (metadata.mode & 0o777),
            mtime: metadata.mtime,
            atime: metadata.atime,
            ctime: metadata.ctime,
            uid: metadata.uid,
            gid: metadata.gid,
            user: metadata.user.clone(),
            group: metadata.group.clone(),
            inode: metadata.inode,
            device_id: metadata.device_id,
            size: metadata.size,
            links: metadata.links,
            linktarget: target.map(|target| String::from_utf8_lossy(target).into_owned()).unwrap_or_default(),
            linktarget_raw: target.filter(|t| std::str::from_utf8(t).is_err()).map(|t| STANDARD.encode(t)),
            extended_attributes: (!metadata.xattrs.is_empty())
                .then(|| metadata.xattrs.iter().map(xattr).collect()),
            device,
            content: matches!(kind, EntryKind::File).then(|| node.content.clone()),
            subtree: node.subtree,
        }
    }
}

impl NodeForm {
    /// The node, or what is wrong with it.
    pub(crate) fn into_node(self) -> Result<Node, &'static str> {
        let name = go_quote::unquote(&self.name).ok_or("a name with a broken escape")?;
        if !is_plain_name(&name) {
            return Err("a name that would leave its directory");
        }
        let target = match self.linktarget_raw {
            Some(raw) => STANDARD.decode(raw).map_err(|_| "a link target that is not base64")?,
            None => self.linktarget.into_bytes(),
        };
        let kind = match self.r#type.as_str() {
            "file" => EntryKind::File,
            "dir" => EntryKind::Directory,
            "symlink" => EntryKind::Symlink { target },
            "dev" => EntryKind::BlockDevice { device: self.device },
            "chardev" => EntryKind::CharDevice { device: self.device },
            "fifo" => EntryKind::Fifo,
            "socket" => EntryKind::Socket,
            _ => return Err("an entry of an unknown type"),
        };
        if (kind == EntryKind::Directory) != self.subtree.is_some() {
            return Err("a directory without a tree, or a tree without a directory");
        }
        let special = SPECIAL.iter().filter(|(_, go)| self.mode & go != 0).map(|(unix, _)| unix);
        let xattr = |form: XattrForm| {
            let value = STANDARD.decode(form.value.unwrap_or_default());
            value.map(|value| Xattr { name: form.name, value }).map_err(|_| "an attribute that is not base64")
        };
        let mode = (self.mode & 0o777) | special.sum::<u32>();
        let metadata = Metadata {
            mode,
            uid: self.uid,
            gid: self.gid,
            user: self.user,
            group: self.group,
            mtime: self.mtime,
            atime: self.atime,
            ctime: self.ctime,
            inode: self.inode,
            device_id: self.device_id,
            links: self.links,
            size: self.size,
            xattrs: self
                .extended_attributes
                .unwrap_or_default()
                .into_iter()
                .map(xattr)
                .collect::<Result<_, _>>()?,
        };
        let entry = Entry { name, kind, metadata };
        Ok(Node { entry, content: self.content.unwrap_or_default(), subtree: self.subtree })
    }
}
