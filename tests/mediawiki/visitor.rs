//! Somebody who uses the wiki: reads, logs in, edits, logs out.

use std::cell::RefCell;
use std::net::SocketAddr;

use serde_json::Value;

use crate::browser::Browser;
use crate::http::encode_form;
use crate::session::SessionKey;
use crate::wiki::{PASSWORD, SESSION_COOKIE, USER, USER_ID_COOKIE, USER_NAME_COOKIE};

/// A clone has the same cookies and its own jar.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    wiki: SocketAddr,
    browser: RefCell<Browser>,
}

impl Visitor {
    pub(crate) fn new(wiki: SocketAddr) -> Self {
        Self { wiki, browser: RefCell::new(Browser::new(wiki)) }
    }

    /// The same user, whose requests go to this front end of the wiki.
    pub(crate) fn at(&self, wiki: SocketAddr) -> Self {
        Self { wiki, browser: RefCell::new(self.browser.borrow().at(wiki)) }
    }

    /// The page as HTML.
    pub(crate) fn read(&self, title: &str) -> String {
        let answer =
            self.browser.borrow_mut().get(&format!("/index.php?{}", encode_form(&[("title", title)])));
        assert_eq!(answer.status, 200, "read {title}: {}", answer.text());
        answer.text()
    }

    /// Whom the wiki takes this visitor for; `None` is nobody.
    pub(crate) fn user(&self) -> Option<String> {
        let answer = self.api(&[("action", "query"), ("meta", "userinfo")]);
        let info = &answer["query"]["userinfo"];
        let name = info["name"].as_str().unwrap_or_else(|| panic!("userinfo without a name: {answer}"));
        let is_anonymous = info["anon"].as_bool().unwrap_or(false);
        (!is_anonymous).then(|| name.to_owned())
    }

    /// A CSRF token, for forms that change something.
    pub(crate) fn token(&self, kind: &str) -> String {
        let answer = self.api(&[("action", "query"), ("meta", "tokens"), ("type", kind)]);
        let token = answer["query"]["tokens"][format!("{kind}token")].as_str();
        token.unwrap_or_else(|| panic!("no {kind} token: {answer}")).to_owned()
    }

    /// With `clientlogin` and without `rememberMe`: anything else sets a cookie that logs in again for half a year
    /// without any session, and no logout test would mean a thing.
    pub(crate) fn log_in(&self) {
        let token = self.token("login");
        let return_url = format!("http://{}/", self.wiki);
        let answer = self.api(&[
            ("action", "clientlogin"),
            ("username", USER),
            ("password", PASSWORD),
            ("logintoken", &token),
            ("loginreturnurl", &return_url),
        ]);
        assert_eq!(answer["clientlogin"]["status"], "PASS", "log in: {answer}");
    }

    pub(crate) fn edit(&self, title: &str, text: &str, csrf_token: &str) {
        let answer = self.api(&[
            ("action", "edit"),
            ("title", title),
            ("text", text),
            ("assertuser", USER),
            ("token", csrf_token),
        ]);
        assert_eq!(answer["edit"]["result"], "Success", "edit {title}: {answer}");
    }

    pub(crate) fn log_out(&self) {
        let token = self.token("csrf");
        self.api(&[("action", "logout"), ("token", &token)]);
    }

    /// The session that this visitor's cookie names.
    pub(crate) fn session(&self) -> SessionKey {
        let browser = self.browser.borrow();
        SessionKey::of_id(browser.cookie(SESSION_COOKIE).expect("this visitor has a session cookie"))
    }

    pub(crate) fn forge_session(&self, id: &str) {
        self.browser.borrow_mut().set_cookie(SESSION_COOKIE, id);
    }

    pub(crate) fn forge_name(&self, name: &str) {
        let mut browser = self.browser.borrow_mut();
        browser.set_cookie(USER_ID_COOKIE, "1");
        browser.set_cookie(USER_NAME_COOKIE, name);
    }

    fn api(&self, form: &[(&str, &str)]) -> Value {
        let answer = self.browser.borrow_mut().post("/api.php?format=json&formatversion=2", form);
        let text = answer.text();
        assert_eq!(answer.status, 200, "{:?}: {text}", form[0]);
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        assert!(json.get("error").is_none(), "{:?}: {json}", form[0]);
        json
    }
}
