//! The cache against a small model of what it may do: random users, fields, directives, clock steps and answers. Nobody
//! ever gets what was made for somebody else, and nothing is served staler than allowed. The model knows the rules and no
//! mechanism: it looks at what was served, and asks whether anybody might have.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tollgate::base::body::{RequestBody, ResponseBody};
use tollgate::base::client::Client;
use tollgate::base::clock;
use tollgate::base::exchange::{Exchange, Origin};
use tollgate::base::headers::Survey;
use tollgate::base::identity::Identity;
use tollgate::base::request::{Outcome, Refused, Request, Response};
use tollgate::layers::cache::Cache;
use tollgate::layers::cache::freshness::Moment;
use tollgate::layers::cache::policy::{CachePolicy, Part, RouteCachePolicy};
use tollgate::layers::cache::service::{CacheLayer, Cached};
use tollgate::layers::cache::store::Store;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, service_fn};

const PATHS: [&str; 3] = ["/a", "/b", "/b?c"];
const USERS: [&str; 3] = ["ann", "bob", "cyd"];
const LANGUAGES: [&str; 3] = ["en", "de", "fr"];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Get {
        path: usize,
        who: Who,
        language: Option<usize>,
        control: String,
        condition: bool,
    },
    Post {
        path: usize,
        fails: bool,
    },
    Wait(u64),
    /// From now on the backend says this.
    Says {
        control: String,
        varies: bool,
        cookie: bool,
        fails: bool,
    },
}

/// Who asks: a user that the gateway knows, somebody with credentials that it does not look at, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    User(usize),
    Bearer(usize),
    Nobody,
}

/// A response as the backend has made it.
#[derive(Clone, Debug)]
struct Made {
    path: usize,
    who: Who,
    language: Option<usize>,
    varies: bool,
    cookie: bool,
    tag: HeaderValue,
    /// What it said when it was made, or when it was last said to be unchanged; and when that was.
    control: Directives,
    at: u64,
}

/// What matters of a `Cache-Control`, as the test has written it.
#[derive(Clone, Debug, Default)]
struct Directives(HashMap<String, Option<u64>>);

impl Directives {
    fn read(text: &str) -> Self {
        let pair = |item: &str| match item.trim().split_once('=') {
            Some((name, value)) => (name.to_owned(), value.parse().ok()),
            None => (item.trim().to_owned(), None),
        };
        // Said twice, the first one counts.
        Self(text.rsplit(',').map(pair).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn seconds(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied().flatten()
    }
}

#[derive(Default)]
struct World {
    now: u64,
    control: String,
    varies: bool,
    cookie: bool,
    fails: bool,
    made: Vec<Made>,
    /// When each path was last changed.
    changed: HashMap<usize, u64>,
    /// Increases with each change, so that what is unchanged is known.
    versions: HashMap<usize, u64>,
    /// What the backend was asked meanwhile: responses that it has made, or called unchanged.
    asked: Vec<usize>,
}

impl World {
    /// The backend's answer to a request.
    fn answer(&mut self, request: &Request) -> (StatusCode, HeaderMap, Bytes) {
        let fields = &request.head.headers;
        let path = PATHS.iter().position(|path| request.head.uri == **path).unwrap();
        let mut headers = HeaderMap::new();
        if request.head.method == Method::POST {
            let fails = fields.contains_key("x-fails");
            if !fails {
                *self.versions.entry(path).or_default() += 1;
                self.changed.insert(path, self.now);
            }
            let status = if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NO_CONTENT };
            return (status, headers, Bytes::new());
        }
        if self.fails {
            return (StatusCode::SERVICE_UNAVAILABLE, headers, Bytes::from_static(b"fails"));
        }
        headers.insert("cache-control", self.control.parse().unwrap());
        if self.varies {
            headers.insert("vary", "accept-language".parse().unwrap());
        }
        let who = who(&request.exchange, fields);
        let language =
            fields.get("accept-language").map(|asked| LANGUAGES.iter().position(|own| asked == *own).unwrap());
        // A backend that makes something else for everybody, in each language, of each version.
        let version = self.versions.get(&path).copied().unwrap_or_default();
        let tag = format!("\"{path}-{who:?}-{language:?}-{version}-{}\"", self.varies);
        headers.insert("etag", tag.replace(['(', ')'], "").parse().unwrap());
        let control = Directives::read(&self.control);
        if fields.get("if-none-match").is_some_and(|asked| *asked == headers["etag"]) {
            let tag = headers["etag"].clone();
            for (at, made) in self.made.iter_mut().enumerate().filter(|(_, made)| made.tag == tag) {
                (made.control, made.at) = (control.clone(), self.now);
                self.asked.push(at);
            }
            return (StatusCode::NOT_MODIFIED, headers, Bytes::new());
        }
        if self.cookie {
            headers.insert("set-cookie", "a=b".parse().unwrap());
        }
        let number = self.made.len();
        self.asked.push(number);
        let (varies, cookie, at) = (self.varies, self.cookie, self.now);
        let tag = headers["etag"].clone();
        self.made.push(Made { path, who, language, varies, cookie, tag, control, at });
        (StatusCode::OK, headers, Bytes::from(number.to_string()))
    }
}

fn who(exchange: &Exchange, fields: &HeaderMap) -> Who {
    let user = exchange.subject().and_then(|name| USERS.iter().position(|own| **name == **own));
    let bearer = fields.get("authorization").map(|value| value.to_str().unwrap().parse().unwrap());
    user.map(Who::User).or(bearer.map(Who::Bearer)).unwrap_or(Who::Nobody)
}

type Stack = Cached<BoxCloneSyncService<Request, Response, Refused>>;

/// A cache of a route before a backend, and a clock that only moves when it is told to.
fn stack(world: &Arc<Mutex<World>>, policy: RouteCachePolicy) -> Stack {
    let backend = world.clone();
    let inner = service_fn(move |request: Request| {
        let (status, headers, body) = backend.lock().unwrap().answer(&request);
        let (mut head, ()) = http::Response::new(()).into_parts();
        (head.status, head.headers) = (status, headers);
        let body = if body.is_empty() { ResponseBody::Empty } else { ResponseBody::Full(body) };
        std::future::ready(Ok(Response { head, body, exchange: request.exchange }) as Outcome)
    });
    let (begin, ticking) = (clock::now(), world.clone());
    let clock = move || {
        let now = ticking.lock().unwrap().now;
        Moment { instant: begin + Duration::from_secs(now), unix: 1_795_000_000 + now }
    };
    let recorder = tollgate::telemetry::recorder::Recorder::default();
    let sizes = CachePolicy { memory: 1 << 20, max_object: 1 << 12, ..CachePolicy::default() };
    let store = Store::with_clock(&sizes, &recorder, Box::new(clock));
    let cache = Cache::new("r", Some(policy), sizes.max_object, store, &recorder);
    CacheLayer(Some(Arc::new(cache))).layer(BoxCloneSyncService::new(inner))
}

fn request(method: Method, path: usize, who: Who, fields: &[(&'static str, String)]) -> Request {
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = PATHS[path].parse().unwrap();
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    if let Who::Bearer(number) = who {
        request.headers_mut().insert("authorization", number.to_string().parse().unwrap());
    }
    let (head, ()) = request.into_parts();
    let origin = Origin { peer: SocketAddr::from(([127, 0, 0, 1], 1)), trusted: false, scheme: "http", worker: 0 };
    let busy = Client::new(origin.peer.ip(), Vec::new()).begin(false);
    let mut exchange = Exchange::new(origin, busy, clock::now(), &head);
    exchange.survey = Survey::of(&head.headers);
    exchange.target = head.uri.clone();
    exchange.host = Some("h".parse().unwrap());
    exchange.route = Some("r".into());
    if let Who::User(number) = who {
        let subject = Some(USERS[number].into());
        exchange.identity = Some(Arc::new(Identity { subject, ..Identity::default() }));
    }
    Request { head: Box::new(head), body: RequestBody::EMPTY, exchange: Box::new(exchange) }
}

/// Whether anybody might have served this response to that request now; if not, why.
fn judge(made: &Made, asked: &Event, world: &World, policy: &RouteCachePolicy) -> Result<(), String> {
    let Event::Get { path, who, language, control, .. } = asked else { return Ok(()) };
    let (said, wanted) = (&made.control, Directives::read(control));
    let no = |why: &str| Err(format!("{why}: {made:?} at {}", world.now));
    if made.path != *path {
        return no("another URL");
    }
    if said.has("no-store") || said.has("private") || made.cookie {
        return no("not to be kept");
    }
    let apart = policy.vary_by.contains(&Part::Subject);
    let subject = |who: &Who| if let Who::User(number) = who { Some(*number) } else { None };
    if apart && subject(&made.who) != subject(who) {
        return no("another partition");
    }
    let personal = made.who != Who::Nobody && !(apart && subject(&made.who).is_some());
    let shared = said.has("public") || said.has("s-maxage") || said.has("must-revalidate");
    if personal && !shared {
        return no("somebody's own");
    }
    if made.varies && made.language != *language {
        return no("another language");
    }
    if world.changed.get(path).is_some_and(|at| *at >= made.at && world.versions[path] > 0 && *at > made.at) {
        return no("changed since");
    }
    if said.has("no-cache") || wanted.has("no-cache") || wanted.has("no-store") {
        return no("the upstream had to be asked");
    }
    let age = world.now - made.at;
    if wanted.seconds("max-age").is_some_and(|most| age > most) {
        return no("older than the client takes");
    }
    let fresh = said.seconds("s-maxage").or(said.seconds("max-age")).unwrap_or(policy.ttl.as_secs());
    let stale = (age + 1).saturating_sub(fresh);
    let strict = said.has("must-revalidate");
    let window = |name: &str, route: Option<Duration>| match (said.seconds(name), route) {
        _ if strict => 0,
        (Some(own), route) => own.min(route.map_or(u64::MAX, |most| most.as_secs())),
        (None, Some(route)) if !said.has("s-maxage") => route.as_secs(),
        _ => 0,
    };
    let mut most = window("stale-while-revalidate", policy.stale_while_revalidate);
    if world.fails {
        most = most.max(window("stale-if-error", policy.stale_if_error));
    }
    if let Some(own) = wanted.seconds("max-stale").filter(|_| !strict && !said.has("s-maxage")) {
        most = most.max(own + 1);
    }
    if stale > most { no("too stale") } else { Ok(()) }
}

async fn play(events: &[Event], policy: RouteCachePolicy) -> Result<(), String> {
    let world = Arc::new(Mutex::new(World { control: "max-age=5".to_owned(), ..World::default() }));
    let mut stack = stack(&world, policy.clone());
    for event in events {
        let asking = match event {
            Event::Wait(seconds) => {
                world.lock().unwrap().now += seconds;
                continue;
            }
            Event::Says { control, varies, cookie, fails } => {
                let mut world = world.lock().unwrap();
                (world.control, world.varies) = (control.clone(), *varies);
                (world.cookie, world.fails) = (*cookie, *fails);
                continue;
            }
            Event::Post { path, fails } => {
                let fields = if *fails { vec![("x-fails", "1".to_owned())] } else { Vec::new() };
                request(Method::POST, *path, Who::Nobody, &fields)
            }
            Event::Get { path, who, language, control, condition } => {
                let mut fields = vec![("cache-control", control.clone())];
                fields.extend(language.map(|at| ("accept-language", LANGUAGES[at].to_owned())));
                fields.extend(condition.then(|| ("if-none-match", "\"mine\"".to_owned())));
                request(Method::GET, *path, *who, &fields)
            }
        };
        world.lock().unwrap().asked.clear();
        let response = match stack.call(asking).await {
            Ok(response) => response,
            Err(_) => continue,
        };
        let status = response.head.status;
        let body = response.body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        // What goes on behind the client's back comes to its end.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        let world = world.lock().unwrap();
        if status != StatusCode::OK {
            continue;
        }
        let number: usize = String::from_utf8_lossy(&body).parse().map_err(|_| format!("{body:?} was never made"))?;
        let answered = world.asked.contains(&number);
        if !answered {
            judge(&world.made[number], event, &world, &policy)?;
        } else if matches!(event, Event::Get { path, who, language, .. }
            if (world.made[number].path, world.made[number].who, world.made[number].language) != (*path, *who, *language))
        {
            // The upstream was asked, and what it calls unchanged was made for this very request's kind.
            return Err(format!("{event:?} got {:?}", world.made[number]));
        }
    }
    Ok(())
}

fn control(response: bool) -> impl Strategy<Value = String> {
    let all: &[&str] = match response {
        true => &[
            "max-age=5",
            "max-age=0",
            "s-maxage=7",
            "public",
            "private",
            "no-store",
            "no-cache",
            "must-revalidate",
            "stale-while-revalidate=4",
            "stale-if-error=6",
            "max-age=60",
        ],
        false => &["x", "x", "x", "no-cache", "no-store", "max-age=2", "max-stale=3", "min-fresh=2", "only-if-cached"],
    };
    prop::sample::subsequence(all.to_vec(), 1..=3).prop_map(|some| some.join(", "))
}

fn event() -> impl Strategy<Value = Event> {
    let who = prop_oneof![(0..3_usize).prop_map(Who::User), (0..2_usize).prop_map(Who::Bearer), Just(Who::Nobody)];
    let language = prop::option::of(0..3_usize);
    prop_oneof![
        12 => (0..3_usize, who, language, control(false), any::<bool>()).prop_map(
            |(path, who, language, control, condition)| Event::Get { path, who, language, control, condition }
        ),
        1 => (0..3_usize, any::<bool>()).prop_map(|(path, fails)| Event::Post { path, fails }),
        5 => (0..6_u64).prop_map(Event::Wait),
        4 => (control(true), any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.2)).prop_map(
            |(control, varies, cookie, fails)| Event::Says { control, varies, cookie, fails }
        ),
    ]
}

fn policy() -> impl Strategy<Value = RouteCachePolicy> {
    let seconds = || prop::option::of((0..8_u64).prop_map(Duration::from_secs));
    (any::<bool>(), prop::sample::select(vec![0, 3]), seconds(), seconds()).prop_map(
        |(apart, ttl, stale_while_revalidate, stale_if_error)| RouteCachePolicy {
            ttl: Duration::from_secs(ttl),
            stale_while_revalidate,
            stale_if_error,
            vary_by: if apart { vec![Part::Subject] } else { Vec::new() },
            ..RouteCachePolicy::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn nobody_gets_what_is_not_theirs_or_too_old(events in prop::collection::vec(event(), 1..60), policy in policy()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let played = runtime.block_on(play(&events, policy));
        prop_assert!(played.is_ok(), "{}", played.unwrap_err());
    }
}
