//! The files of the pages (`build/pages`), through the binding `ASSETS`: on Cloudflare static
//! assets, on one machine the runtime's own service of a folder (`scripts/local-worker.js`).

use worker::Env;

use crate::storage::Fault;

/// The text of a file; `None` if there is no such file.
pub async fn text(env: &Env, name: &str) -> Result<Option<String>, Fault> {
    let fault = |error| Fault::new("reading a page", error);
    let assets = env.assets("ASSETS").map_err(fault)?;
    // The host is only there because a request needs one.
    let mut response = assets.fetch(format!("https://assets.invalid/{name}"), None).await.map_err(fault)?;
    let status = response.status_code();
    if status == 404 {
        return Ok(None);
    }
    let text = response.text().await.map_err(fault)?;
    if status == 200 { Ok(Some(text)) } else { Err(Fault::new("reading a page", status)) }
}
