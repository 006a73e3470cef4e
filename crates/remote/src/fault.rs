//! From the errors of `object_store` and of our HTTP to ours: the chain of causes is searched for what says most.

use std::error::Error;
use std::io::ErrorKind;

use object_store::client::{HttpError, HttpErrorKind};
use store::{Refusal, StoreError};

use crate::answer::{Answer, Call};
use crate::web::{CutListing, NoMetadata};

/// What `error` means for the call.
pub(crate) fn explain(error: &(dyn Error + 'static), call: Call<'_>) -> StoreError {
    if let Some(answer) = cause::<Answer>(error) {
        return answer.judge(call);
    }
    if let Some(nobody) = cause::<NoMetadata>(error) {
        return call.refused(Refusal::NoCredentials(nobody.to_string()));
    }
    if let Some(broken) = cause::<rustls::Error>(error) {
        return match broken {
            rustls::Error::InvalidCertificate(_) => call.refused(Refusal::Untrusted(broken.to_string())),
            _ => call.io(ErrorKind::ConnectionAborted, broken.to_string()),
        };
    }
    if cause::<CutListing>(error).is_some() {
        return call.wrong(root(error));
    }
    match cause::<HttpError>(error).map(HttpError::kind) {
        Some(HttpErrorKind::Connect) => call.io(ErrorKind::NotConnected, root(error)),
        Some(HttpErrorKind::Timeout) => call.io(ErrorKind::TimedOut, "no answer in time"),
        Some(_) => call.io(ErrorKind::ConnectionAborted, root(error)),
        None => call.wrong(root(error)),
    }
}

/// The first cause of this type; also what hides inside of an `io::Error`, whose `source` leaves it out.
pub(crate) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// The words of the last cause: the ones before only repeat that there is one.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}
