//! Refuses callers whose role a method does not name, whatever let them in.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tonic::{Status, metadata::MetadataMap};

use crate::{
    access::Method,
    caller::{Caller, Role},
    problem::Problem,
};

/// The methods by path.
pub(super) type Methods = Arc<HashMap<String, Method>>;

/// Methods without a rule, health and reflection, are for everybody who reaches the process.
pub(super) async fn check(State(methods): State<Methods>, request: Request, next: Next) -> Response {
    if let Some(method) = methods.get(request.uri().path())
        && let Err(problem) = allow(method, &request)
    {
        return Status::from(problem).into_http();
    }
    next.run(request).await
}

fn allow(method: &Method, request: &Request) -> Result<(), Problem> {
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let roles: Vec<Role> = method.roles.iter().filter_map(|role| Role::declared(*role)).collect();
    Caller::from_metadata(&metadata)?.require(&roles)
}
