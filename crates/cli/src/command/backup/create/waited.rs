//! How long the server of a cluster was waited for, each thing by itself: in words, and as JSON.

use engine::back_up_cluster::Waited;
use serde_json::{Value, json};

pub(super) fn words(waited: &Waited) -> String {
    let Waited { checkpoint, summarizer, archiver } = waited;
    let [checkpoint, summarizer, archiver] =
        [checkpoint, summarizer, archiver].map(|time| format!("{:.2} s", time.as_secs_f64()));
    format!(
        "waited {checkpoint} for the checkpoint, {summarizer} for the summarizer, {archiver} for the archiver"
    )
}

pub(super) fn add(waited: &Waited, document: &mut Value) {
    let Waited { checkpoint, summarizer, archiver } = waited;
    let named =
        [("checkpointSeconds", checkpoint), ("summarizerSeconds", summarizer), ("archiverSeconds", archiver)];
    for (name, time) in named {
        document[name] = json!(time.as_secs_f64());
    }
}
