//! What fuzz targets reach of the proxy beyond its API, built for them alone (`--cfg fuzzing`): what
//! becomes of the platform's answers. What must hold of it is for the targets to say.

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::HeaderValue;

use crate::platform::bbs::models::{ActualLrpsResponse, DesiredLrpResponse};
use crate::platform::bbs::{self, BbsError, Lrp};
use crate::platform::call::{self, CallError};
use crate::platform::{cloud_controller, uaa};
use crate::refusal::Refusal;
use crate::target::Target;

/// An answer of a service, as far as hyper hands it on.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status, any number.
    pub status: u16,
    /// Headers, with values of any bytes.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the user is told at the end of the text.
    pub code: &'static str,
    /// What goes into the log.
    pub error: String,
}

/// A token of UAA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The header that is shown to Cloud Controller.
    pub authorization: HeaderValue,
    /// The user's id, for log lines.
    pub id: String,
    /// The user's name, for log lines.
    pub name: String,
}

impl Answer {
    /// `None` for what no response can be.
    fn response(self) -> Option<Response<Full<Bytes>>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(Bytes::from(self.body))).ok()
    }

    async fn accepted(self) -> Option<Result<call::Answer, CallError>> {
        let response = self.response()?;
        Some(call::accepted(response).await)
    }
}

impl<E: Into<Refusal>> From<E> for Refused {
    fn from(error: E) -> Self {
        let refusal = error.into();
        Self {
            code: refusal.code(),
            error: refusal.to_string(),
        }
    }
}

/// The target that BBS's two answers make; `None` for what no response can be.
pub async fn target(
    rows: Answer,
    desired: Answer,
    guid: &str,
    index: i32,
) -> Option<Result<Target, Refused>> {
    let (rows, desired) = (rows.response()?, desired.response()?);
    let lrp = async {
        let rows: ActualLrpsResponse = bbs::understand(rows).await?;
        let actual = bbs::choose(rows.actual_lrps, guid, index)?;
        let desired: DesiredLrpResponse = bbs::understand(desired).await?;
        let desired = desired.desired_lrp.ok_or_else(|| BbsError::NoDesiredLrp {
            guid: guid.to_owned(),
        })?;
        Ok::<_, BbsError>(Lrp { actual, desired })
    };
    Some(match lrp.await {
        Ok(lrp) => Target::new(&lrp, false).map_err(Refused::from),
        Err(error) => Err(error.into()),
    })
}

/// The token in UAA's answer; `None` for what no response can be.
pub async fn token(answer: Answer) -> Option<Result<Token, Refused>> {
    let token = match answer.accepted().await? {
        Ok(answer) => uaa::understand(&answer),
        Err(error) => Err(error.into()),
    };
    Some(token.map_err(Refused::from).map(|token| Token {
        authorization: token.authorization,
        id: token.user.id,
        name: token.user.name,
    }))
}

/// The guid in Cloud Controller's answer; `None` for what no response can be.
pub async fn process_guid(answer: Answer) -> Option<Result<String, Refused>> {
    let guid = match answer.accepted().await? {
        Ok(answer) => cloud_controller::understand(&answer),
        Err(error) => Err(error.into()),
    };
    Some(guid.map_err(Refused::from))
}
