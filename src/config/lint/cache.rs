//! What is allowed around routes with `cache`, but probably not meant.

use crate::config::Config;
use crate::config::findings::Findings;
use crate::config::key::KeyPath;
use crate::config::text::Fault;
use crate::layers::cache::policy::Part;

pub(super) fn lint(config: &Config, findings: &mut Findings) {
    users_alike(config, findings);
}

/// `users-alike`: a route knows who asks, and its cache does not. Answers to one user are then kept by a word of the
/// upstream only, and for all of them; what was kept for those without credentials is for all in any case.
fn users_alike(config: &Config, findings: &mut Findings) {
    for (at, route) in config.routes.iter().enumerate() {
        let (Some(auth), Some(cache)) = (&route.auth, &route.cache) else { continue };
        if cache.vary_by.iter().any(|part| matches!(part, Part::Subject | Part::Claim(_))) {
            continue;
        }
        let text = match auth.optional {
            false => {
                "answers are kept only where they say `public`, `s-maxage` or `must-revalidate`, and then for all users alike"
            }
            true => "answers to clients without credentials are kept, and given to users too",
        };
        let fault = Fault::new(text).hint("set `vary_by = [\"subject\"]`, or a claim, to keep users apart");
        let path = KeyPath::dotted("routes").index(at);
        findings.warn("users-alike", &path.key("cache"), fault, Some((&path.key("auth"), "tells users apart")));
    }
}
