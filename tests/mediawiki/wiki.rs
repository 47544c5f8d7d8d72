//! A fresh MediaWiki on SQLite in a folder of its own, served by PHP's built-in server, its sessions in Solera.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::free_port;
use crate::node::{BASE_URI, DEFAULT_TTL_S};
use crate::process::{Process, tail};
use crate::wait;

/// `$wgDBname`, which is also the wiki's id in keys and the prefix of its cookies.
pub(crate) const WIKI_ID: &str = "testwiki";
pub(crate) const SESSION_COOKIE: &str = "testwiki_session";
pub(crate) const USER_ID_COOKIE: &str = "testwikiUserID";
pub(crate) const USER_NAME_COOKIE: &str = "testwikiUserName";

/// The account that the installation makes; its id is 1.
pub(crate) const USER: &str = "Tester";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

const LISTENS_WITHIN: Duration = Duration::from_secs(30);
const FETCH: &str = "run scripts/mediawiki-fetch.sh";

#[derive(Debug)]
pub(crate) struct Wiki {
    _process: Process,
    address: SocketAddr,
    store_log: PathBuf,
}

impl Wiki {
    pub(crate) fn start(folder: &Path, store: SocketAddr) -> Self {
        let (tree, place) = (tree(), Place::new(folder.join("wiki"), store));
        install(&tree, &place);
        Self::serve(&tree, &place)
    }

    /// One wiki with one database, and a front end for each of two stores.
    pub(crate) fn start_two(folder: &Path, stores: [SocketAddr; 2]) -> [Self; 2] {
        let tree = tree();
        let first = Place::new(folder.join("wiki"), stores[0]);
        install(&tree, &first);
        let installed = fs::read(first.settings()).expect("read LocalSettings.php");
        let first = Self::serve(&tree, &first);
        // Its port is taken by now.
        let second = Place::new(folder.join("second-front-end"), stores[1]);
        fs::write(second.settings(), installed).expect("write the same LocalSettings.php");
        [first, Self::serve(&tree, &second)]
    }

    fn serve(tree: &Path, place: &Place) -> Self {
        write_settings(place);
        Self { _process: serve(tree, place), address: place.address, store_log: place.store_log() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// MediaWiki's own account of its requests to the store, and of what failed.
    pub(crate) fn store_log(&self) -> String {
        fs::read_to_string(&self.store_log).expect("read the wiki's log")
    }
}

impl Drop for Wiki {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", tail("the wiki's log about its store", &self.store_log));
        }
    }
}

/// Where one front end of a wiki lives.
struct Place {
    folder: PathBuf,
    address: SocketAddr,
    store: SocketAddr,
}

impl Place {
    fn new(folder: PathBuf, store: SocketAddr) -> Self {
        let place = Self { folder, address: free_port::for_server(), store };
        fs::create_dir_all(place.cache()).expect("make the wiki's folder");
        place
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("LocalSettings.php")
    }

    fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    fn store_log(&self) -> PathBuf {
        self.folder.join("store.log")
    }

    /// What MediaWiki and PHP print.
    fn server_log(&self) -> PathBuf {
        self.folder.join("php.log")
    }
}

/// The MediaWiki that was fetched.
fn tree() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let tree = set("SOLERA_MEDIAWIKI").unwrap_or_else(|| {
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        cache.expect("SOLERA_MEDIAWIKI or HOME is set").join("solera/mediawiki")
    });
    assert!(
        tree.join("maintenance/install.php").is_file(),
        "no MediaWiki in {}: {FETCH}, or set SOLERA_MEDIAWIKI to an absolute path that has one",
        tree.display()
    );
    tree
}

fn install(tree: &Path, place: &Place) {
    let output = php()
        .env_remove("MW_CONFIG_FILE")
        .arg(tree.join("maintenance/install.php"))
        .args(["--dbtype", "sqlite", "--dbname", WIKI_ID, "--scriptpath", "", "--pass", PASSWORD])
        .arg("--dbpath")
        .arg(place.folder.join("database"))
        .arg("--confpath")
        .arg(&place.folder)
        .arg("--server")
        .arg(format!("http://{}", place.address))
        .args(["Test wiki", USER])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("no php ({error}): {FETCH}"));
    assert!(
        output.status.success() && place.settings().is_file(),
        "install MediaWiki: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// Adds to what the installation wrote. The wiring is the one in `docs/howto-mediawiki.md`.
fn write_settings(place: &Place) {
    let Place { address, store, .. } = place;
    let store_log = php_string(&place.store_log());
    let cache = php_string(&place.cache());
    let settings = format!(
        r"
$wgServer = 'http://{address}';
$wgObjectCaches['solera'] = [
    'class' => 'RESTBagOStuff',
    'url' => 'http://{store}{BASE_URI}',
    'httpParams' => [
        'writeMethod' => 'POST',
        'writeHeaders' => [ 'content-type' => 'application/octet-stream' ],
    ],
    'serialization_type' => 'JSON',
    'extendedErrorBodyFields' => [ 'type', 'title', 'detail', 'instance' ],
    'loggroup' => 'solera',
];
$wgSessionCacheType = 'solera';
$wgObjectCacheSessionExpiry = {DEFAULT_TTL_S};
$wgDebugLogGroups['solera'] = {store_log};

// No other cache that could stand in for the store, no jobs in the way, nothing outside this folder.
$wgMainCacheType = CACHE_NONE;
$wgParserCacheType = CACHE_NONE;
$wgMessageCacheType = CACHE_NONE;
$wgJobRunRate = 0;
$wgCacheDirectory = {cache};
$wgTmpDirectory = {cache};
"
    );
    let mut file = OpenOptions::new().append(true).open(place.settings()).expect("open LocalSettings.php");
    file.write_all(settings.as_bytes()).expect("add to LocalSettings.php");
}

/// One process that serves one request at a time: killing it leaves no workers behind.
fn serve(tree: &Path, place: &Place) -> Process {
    let mut command = php();
    command
        .args(["-d", "display_errors=0", "-d", "log_errors=1"])
        .arg("-S")
        .arg(place.address.to_string())
        .arg("-t")
        .arg(tree)
        .env("MW_CONFIG_FILE", place.settings())
        .env("no_proxy", place.store.ip().to_string())
        .env_remove("PHP_CLI_SERVER_WORKERS")
        .current_dir(tree);
    let mut process = Process::spawn("php", &mut command, &place.server_log());
    wait::until("the wiki listens", LISTENS_WITHIN, || {
        process.assert_running();
        TcpStream::connect(place.address).ok()
    });
    process
}

fn php() -> Command {
    Command::new("php")
}

fn php_string(path: &Path) -> String {
    let path = path.to_str().expect("a folder whose name is UTF-8");
    format!("'{}'", path.replace('\\', r"\\").replace('\'', r"\'"))
}
