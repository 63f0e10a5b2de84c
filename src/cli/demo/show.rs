//! What the demo says once it runs.

use serde_json::json;

use super::{Scene, grants};
use crate::cli::Done;
use crate::cli::out::Out;

impl Scene {
    fn origins(&self) -> Vec<String> {
        self.replicas.iter().map(|running| format!("http://{}", running.proxy_address)).collect()
    }

    fn admin_urls(&self) -> Vec<String> {
        self.replicas.iter().map(|running| format!("http://{}", running.admin_address)).collect()
    }

    /// For scripts: one line.
    pub(super) fn json(&self, out: &mut Out<'_>) -> Done {
        let (origins, admin_urls) = (self.origins(), self.admin_urls());
        let base_urls: Vec<String> = origins.iter().map(|origin| base_url(origin)).collect();
        let models: Vec<_> = self
            .models
            .iter()
            .map(|(model, granted)| json!({"model": model.code, "unit": model.unit, "granted": granted}))
            .collect();
        let store = self.shared.as_ref().map(|shared| {
            json!({"url": shared.settings.url.to_string(), "prefix": shared.settings.prefix, "promise": shared.promise})
        });
        let line = json!({
            "origin": origins.first(),
            "base_url": base_urls.first(),
            "admin_url": admin_urls.first(),
            "origins": origins,
            "base_urls": base_urls,
            "admin_urls": admin_urls,
            "state_dirs": self.state_dirs,
            "store": store,
            "api_key": self.furnished.secret.expose(),
            "admin_token": *self.token,
            "simulator_url": self.simulator,
            "models": models,
        });
        out.line(line)?;
        out.flush()
    }

    /// For people, with commands to paste.
    pub(super) fn text(&self, out: &mut Out<'_>) -> Done {
        let (origins, admin_urls) = (self.origins(), self.admin_urls());
        let (key, token, simulator) = (self.furnished.secret.expose(), &*self.token, &self.simulator);
        let program = std::env::args().next().unwrap_or_else(|| "gratis".to_owned());
        let first = self.models.first().map(|(model, _)| model.code.as_str()).unwrap_or_default();
        let origin = origins.first().map(String::as_str).unwrap_or_default();
        let admin = admin_urls.first().map(String::as_str).unwrap_or_default();
        out.line(format!(
            "gratis {} demo: nothing leaves this machine, and nothing is kept.\n",
            env!("CARGO_PKG_VERSION")
        ))?;
        self.places(&origins, &admin_urls, out)?;
        out.line(format!("  API key    {key}"))?;
        out.line(format!("  simulator  {simulator}   (its own ledger: {simulator}/ledger)\n"))?;
        out.line("Free quota, and nothing beyond it:")?;
        for (model, granted) in &self.models {
            out.line(format!("  {:<14} {granted:>9} {}", model.code.as_str(), grants::unit(model.unit)))?;
        }
        let each = |name: &str, urls: &[String]| urls.iter().map(|url| format!("{name} {url} ")).collect::<String>();
        let (targets, admins) = (each("--target", &origins), each("--admin", &admin_urls));
        out.text(&format!(
            r#"
Try it:

  curl -N {origin}/compatible-mode/v1/chat/completions \
    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \
    -d '{{"model": "{first}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{origin}/compatible-mode/v1", api_key="{key}")
  print(client.chat.completions.create(model="{first}", messages=[{{"role": "user", "content": "Hello"}}]))

What is left, and a load that tries to get past it:

  {program} model balance --admin {admin} --token {token}
  {program} load {targets}--key {key} --model {first} --requests 500 --concurrency 64 \
    --stream-share 0.5 --abort-share 0.1 --oracle {simulator} {admins}--admin-token {token}

Ctrl-C ends it.
"#
        ))?;
        out.flush()
    }

    /// Where it listens: one pair of addresses, or one for each replica and what they share.
    fn places(&self, origins: &[String], admin_urls: &[String], out: &mut Out<'_>) -> Done {
        let Some(shared) = &self.shared else {
            for (origin, admin) in origins.iter().zip(admin_urls) {
                out.line(format!("  base URL   {}", base_url(origin)))?;
                out.line(format!("  admin API  {admin}   token {}", *self.token))?;
            }
            return Ok(());
        };
        for (number, (origin, admin)) in origins.iter().zip(admin_urls).enumerate() {
            out.line(format!("  replica {}  {}   admin API {admin}", number + 1, base_url(origin)))?;
        }
        out.line(format!("  token      {}", *self.token))?;
        out.line(format!("  store      {}, keys begin with `{}`", shared.settings.url, shared.settings.prefix))?;
        for line in &shared.promise {
            out.line(format!("             {line}"))?;
        }
        Ok(())
    }
}

fn base_url(origin: &str) -> String {
    format!("{origin}/compatible-mode/v1")
}
