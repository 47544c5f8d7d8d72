//! A browser without a screen: keeps cookies, sends forms.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::http::{self, Request, Response, encode_form};

#[derive(Debug, Clone)]
pub(crate) struct Browser {
    site: SocketAddr,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn new(site: SocketAddr) -> Self {
        Self { site, cookies: BTreeMap::new() }
    }

    /// Another browser with the same cookies, that has this site in the place of its own.
    pub(crate) fn at(&self, site: SocketAddr) -> Self {
        Self { site, cookies: self.cookies.clone() }
    }

    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send(Request::new("GET", target))
    }

    pub(crate) fn post(&mut self, target: &str, form: &[(&str, &str)]) -> Response {
        let request = Request::new("POST", target)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(encode_form(form));
        self.send(request)
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    pub(crate) fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    fn send(&mut self, request: Request) -> Response {
        let request =
            if self.cookies.is_empty() { request } else { request.header("Cookie", &self.cookie_line()) };
        let answer = http::exchange(self.site, &request).expect("the wiki answers");
        for line in answer.headers("Set-Cookie") {
            self.obey(line);
        }
        answer
    }

    fn cookie_line(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    /// PHP takes a cookie back with `Max-Age=0`. Paths and domains don't matter with one site.
    fn obey(&mut self, set_cookie: &str) {
        let mut parts = set_cookie.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            panic!("a cookie without a name: {set_cookie}");
        };
        if parts.any(|attribute| attribute.eq_ignore_ascii_case("max-age=0")) {
            self.cookies.remove(name);
        } else {
            self.set_cookie(name, value);
        }
    }
}
