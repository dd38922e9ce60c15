//! The management port of the served array under foreign eyes: curl and our driver over TLS, a schema-driven fuzzer, a
//! reader of Prometheus metrics, a browser; and a search for secrets in everything that it says.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use sanbench_api::VolumeDriver;
use sanbench_tengling::{TenglingConfig, TenglingDriver};
use serde_json::{Value, json};

use super::html::browse;
use super::live::{HERE, block_on, world};
use super::serve::{Serve, command};
use super::tools::{Checked, Foreign, Running, ensure, missing, run};

/// Longest run of the fuzzer in seconds.
const FUZZING: &str = "35";

pub(crate) fn trials(foreign: &Foreign, all: &mut Vec<Trial>) {
    all.push(foreign.trial("management::curl_and_the_driver_over_tls", &["curl"], tls));
    all.push(foreign.trial("management::nothing_that_it_says_holds_a_secret", &["curl"], canary));
    let python = python();
    let lacking = || python.is_none().then(|| "the Python environment of .ci/python-fuzz".to_owned());
    let program = python.clone().unwrap_or_default();
    all.push(foreign.trial_with(
        "management::schemathesis_finds_nothing",
        lacking(),
        foreign.require(),
        move || fuzz(&program),
    ));
    let program = python.clone().unwrap_or_default();
    all.push(foreign.trial_with(
        "management::prometheus_reads_the_metrics",
        lacking(),
        foreign.require(),
        move || metrics(&program),
    ));
    // A browser is not among the tools that every change needs: its absence is never a failure.
    all.push(foreign.trial_with(
        "management::the_status_page_opens_in_a_browser",
        missing(&["chromium"]),
        false,
        status_page,
    ));
}

/// The folder of the Python environment's programs, when it is whole and of this checkout's list.
fn python() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let root = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let root = root.join("sanbench/python-fuzz");
    let list = std::fs::read_to_string(root.join("requirements.txt")).ok()?;
    (list == include_str!("fuzz/requirements.txt")).then(|| root.join("bin"))
}

/// One call by curl; its answer, which must be JSON.
fn curl(array: &Serve, more: &[&str], path: &str, token: &str) -> Result<Value, Failed> {
    let url = format!("{}{path}", array.rest());
    let token = format!("iBaseToken: {token}");
    let out =
        run(Command::new("curl").args(["-sS", "--max-time", "10", "-H", &token]).args(more).arg(&url), 20);
    let out = out.good("curl")?;
    serde_json::from_str(&out).map_err(|e| format!("{url}: {e} in {out}").into())
}

/// Token and device id.
fn login(array: &Serve, more: &[&str]) -> Result<(String, String), Failed> {
    let body = json!({"username": "admin", "password": array.password(), "scope": "0"}).to_string();
    let answer = curl(array, &[&["-d", &body], more].concat(), "xx/sessions", "")?;
    let text = |name: &str| answer["data"][name].as_str().map(str::to_owned);
    let found = text("iBaseToken").zip(text("deviceid"));
    found.ok_or_else(|| format!("no session: {answer}").into())
}

/// Makes an object over plain HTTP; its id.
fn make(array: &Serve, session: &(String, String), kind: &str, body: Value) -> Result<String, Failed> {
    let answer = curl(array, &["-d", &body.to_string()], &format!("{}/{kind}", session.1), &session.0)?;
    answer["data"]["ID"].as_str().map(str::to_owned).ok_or_else(|| format!("{kind}: {answer}").into())
}

fn tls() -> Checked {
    let dir = tempfile::tempdir()?;
    let ca = dir.path().join("ca.pem");
    let ca = ca.to_str().unwrap_or_default();
    let array = Serve::start(&["--tls-self-made", ca])?;
    ensure!(array.rest().starts_with("https://127.0.0.1:"), "the ready line says {}", array.rest());
    let (token, device) = login(&array, &["--cacert", ca])?;
    let answer = curl(&array, &["--cacert", ca], &format!("{device}/system/"), &token)?;
    ensure!(answer["data"]["ID"] == json!(device), "{answer}");
    // A client that does not know the authority goes away; so does one that speaks plain HTTP.
    let unknown = run(Command::new("curl").args(["-sS", "--max-time", "10", &array.rest()]), 20);
    ensure!(unknown.code == Some(60), "curl without the authority: {:?} {}", unknown.code, unknown.err);
    let plain = array.rest().replace("https", "http");
    let plain = run(Command::new("curl").args(["-sS", "--max-time", "10", &plain]), 20);
    ensure!(!plain.ok, "plain HTTP was answered: {}", plain.out);
    for (path, good) in [(Some(ca), true), (None, false)] {
        let mut options: BTreeMap<String, String> =
            array.options().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        options.insert("driver_ssl_cert_verify".to_owned(), "True".to_owned());
        options.extend(path.map(|path| ("driver_ssl_cert_path".to_owned(), path.to_owned())));
        let (mut config, _) = TenglingConfig::from_options(&options).map_err(|e| e.to_string())?;
        // A refused certificate stays refused: do not spend the test's time on repetitions.
        config.limits.attempts = 1;
        let up = block_on(async {
            let world = world(dir.path());
            let driver = TenglingDriver::new(world.node("control", &[HERE]), config);
            let up = driver.do_setup().await;
            driver.shutdown().await;
            up
        });
        ensure!(up.is_ok() == good, "the driver with {path:?}: {up:?}");
    }
    Ok(())
}

/// Plants secrets, makes the array talk, and looks for them.
fn canary() -> Checked {
    const PASSWORD: &str = "Canary-password-7Qz";
    const GUESS: &str = "Canary-guess-5Kt";
    const CHAP: &str = "Canary-chap-9Wv";
    let args = ["array", "serve", "--rest", "127.0.0.1:0", "--iscsi", "127.0.0.1:0", "--control"];
    let mut process = Running::start(
        command().args(args).env("SANBENCH_ARRAY_PASSWORD", PASSWORD),
        60,
        Stdio::piped(),
        Stdio::piped(),
    )?;
    let (mut stdout, mut stderr) = (process.child.stdout.take(), process.child.stderr.take());
    let mut line = Vec::new();
    let mut byte = [0];
    while let Some(out) = &mut stdout
        && out.read(&mut byte)? == 1
        && byte[0] != b'\n'
    {
        line.push(byte[0]);
    }
    let ready: Value = serde_json::from_slice(&line)?;
    let rest = ready["rest"].as_str().unwrap_or_default().to_owned();
    let call = |method: &str, url: &str, token: &str, body: &Value| -> Result<String, Failed> {
        let (token, body) = (format!("iBaseToken: {token}"), body.to_string());
        let args = ["-sS", "-i", "--max-time", "10", "-X", method, "-H", &token];
        let mut curl = Command::new("curl");
        curl.args(args);
        if method != "GET" {
            curl.args(["-d", &body]);
        }
        run(curl.arg(url), 20).good("curl")
    };
    let mut said = String::new();
    for user in ["admin", GUESS] {
        let body = json!({"username": user, "password": GUESS});
        said += &call("POST", &format!("{rest}xx/sessions"), "", &body)?;
    }
    let login = json!({"username": "admin", "password": PASSWORD});
    let answer = call("POST", &format!("{rest}xx/sessions"), "", &login)?;
    let pick = |name: &str| -> String {
        let after = answer.split(&format!("\"{name}\":\"")).nth(1).unwrap_or_default();
        after.split('"').next().unwrap_or_default().to_owned()
    };
    let (token, device) = (pick("iBaseToken"), pick("deviceid"));
    ensure!(token.len() >= 32, "no token in {answer}");
    let chap = json!({"ID": "iqn.2026-11.org.sanbench:canary", "USECHAP": "true", "CHAPNAME": "u", "CHAPPASSWORD": CHAP});
    said += &call("POST", &format!("{rest}{device}/iscsi_initiator"), &token, &chap)?;
    said += &call("POST", &format!("{rest}{device}/iscsi_initiator"), &token, &chap)?;
    said += &call(
        "PUT",
        &format!("{rest}{device}/iscsi_initiator"),
        &token,
        &json!({"ID": "x", "CHAPPASSWORD": CHAP}),
    )?;
    said += &call("POST", &format!("{rest}{device}/lun"), &token, &json!({"NAME": [CHAP]}))?;
    said += &call("POST", &format!("{rest}{device}/nothing"), &token, &json!({"password": PASSWORD}))?;
    let fault = json!({"path": "/lun$", "do": "garbage"});
    let base = rest.trim_end_matches("/deviceManager/rest/");
    said += &call("POST", &format!("{base}/_ctl/fault"), "", &fault)?;
    for page in ["/", "/metrics", "/openapi.json", "/_ctl/state"] {
        said += &call("GET", &format!("{base}{page}"), "", &Value::Null)?;
    }
    for list in ["iscsi_initiator", "lun", "system/"] {
        said += &call("GET", &format!("{rest}{device}/{list}"), &token, &Value::Null)?;
    }
    drop(process);
    let pipes = [stdout.as_mut().map(|p| p as &mut dyn Read), stderr.as_mut().map(|p| p as &mut dyn Read)];
    for pipe in pipes.into_iter().flatten() {
        pipe.read_to_string(&mut said)?;
    }
    ensure!(said.contains("sanbench_array_objects") && said.contains("canary"), "the array said too little");
    for secret in [PASSWORD, GUESS, CHAP, &token] {
        ensure!(!said.contains(secret), "{secret} is told");
    }
    Ok(())
}

fn fuzz(bin: &Path) -> Checked {
    let array = Serve::start(&["--control"])?;
    let session = login(&array, &[])?;
    // Something of each kind, so that fuzzed ids meet objects.
    let lun = make(&array, &session, "lun", json!({"NAME": "v", "PARENTID": "0", "CAPACITY": 2_097_152}))?;
    make(&array, &session, "snapshot", json!({"NAME": "s", "PARENTID": lun}))?;
    for kind in ["host", "hostgroup", "lungroup", "portgroup", "mappingview", "ioclass"] {
        make(&array, &session, kind, json!({"NAME": kind}))?;
    }
    make(&array, &session, "iscsi_initiator", json!({"ID": "iqn.2026-11.org.sanbench:fuzz"}))?;
    let base = array.rest().trim_end_matches("/deviceManager/rest/").to_owned();
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/fuzz");
    let dir = tempfile::tempdir()?;
    let mut fuzzer = Command::new(bin.join("schemathesis"));
    fuzzer
        .args(["run", &format!("{base}/openapi.json"), "--url", &base])
        .args(["-H", &format!("iBaseToken: {}", session.0)])
        .args(["--phases", "coverage,fuzzing", "--workers", "1", "--seed", "1", "--max-examples", "20"])
        .args(["--max-time", FUZZING, "--request-timeout", "10", "--suppress-health-check", "all"])
        .args(["--checks", "not_a_server_error,content_type_conformance,response_schema_conformance"])
        .args(["--checks", "refusals_change_nothing,errors_come_under_http_200"])
        // Logging out would end the fuzzing.
        .args(["--exclude-path-regex", "/sessions$", "--generation-database", "none", "--no-color"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", hooks)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SANBENCH_FUZZ_URL", &base)
        .env("SANBENCH_FUZZ_TOKEN", &session.0)
        .env("SANBENCH_FUZZ_DEVICE", &session.1)
        .current_dir(dir.path());
    let out = run(&mut fuzzer, 150).good("schemathesis")?;
    ensure!(out.contains("generated") || out.contains("passed"), "no calls were made:\n{out}");
    // It is still there, and whole.
    let answer = curl(&array, &[], &format!("{}/system/", session.1), &session.0)?;
    ensure!(answer["error"]["code"] == 0, "{answer}");
    Ok(())
}

fn metrics(bin: &Path) -> Checked {
    const READ: &str = "import sys\n\
        from prometheus_client.parser import text_string_to_metric_families as parse\n\
        families = {f.name: f for f in parse(sys.stdin.read())}\n\
        for name, family in families.items():\n    \
            assert family.documentation and family.type != 'unknown', name\n\
        pools = {s.labels['pool']: s.value for s in families['sanbench_array_pool_capacity_bytes'].samples}\n\
        print(len(families), sorted(pools))\n";
    let array = Serve::start(&["--pool", "pool-a=1GiB", "--pool", "pool-b=2GiB"])?;
    let url = array.rest().replace("/deviceManager/rest/", "/metrics");
    let script = format!("curl -sS --max-time 10 {url} | {} -c \"$READ\"", bin.join("python").display());
    let out = run(Command::new("sh").args(["-c", &script]).env("READ", READ), 30).good("the metrics")?;
    ensure!(out.contains("['pool-a', 'pool-b']"), "{out}");
    Ok(())
}

fn status_page() -> Checked {
    let array = Serve::start(&["--control"])?;
    let session = login(&array, &[])?;
    let hostile = "<script>document.title='owned'</script>";
    let mut parent =
        make(&array, &session, "lun", json!({"NAME": "root", "PARENTID": "0", "CAPACITY": 2_097_152}))?;
    for n in 0..4 {
        let body = json!({"NAME": format!("clone-{n}"), "ISCLONE": true, "CLONESOURCEID": parent});
        parent = make(&array, &session, "lun", body)?;
    }
    make(&array, &session, "host", json!({"NAME": hostile}))?;
    let dir = tempfile::tempdir()?;
    // One curl makes them all.
    let requests: Vec<String> = (0..250)
        .map(|n| {
            let body = json!({"NAME": format!("s{n}"), "PARENTID": parent}).to_string().replace('"', "\\\"");
            let (url, (token, device)) = (array.rest(), &session);
            format!("url = \"{url}{device}/snapshot\"\nheader = \"iBaseToken: {token}\"\ndata = \"{body}\"\n")
        })
        .collect();
    let list = dir.path().join("requests");
    std::fs::write(&list, requests.join("next\n"))?;
    run(Command::new("curl").arg("-sS").arg("-K").arg(&list), 60).good("curl")?;
    let url = array.rest().replace("/deviceManager/rest/", "/");
    let picture = dir.path().join("page.png");
    browse(dir.path(), &["--window-size=1280,1400", &format!("--screenshot={}", picture.display())], &url)?;
    if let Some(keep) = std::env::var_os("SANBENCH_SHOTS") {
        std::fs::create_dir_all(&keep)?;
        std::fs::copy(&picture, Path::new(&keep).join("array.png"))?;
    }
    ensure!(std::fs::metadata(&picture)?.len() > 30_000, "an empty page?");
    let dom = browse(dir.path(), &["--dump-dom"], &url)?;
    ensure!(!dom.contains("<script>") && dom.contains("&lt;script&gt;"), "a hostile name came through");
    ensure!(dom.contains("<title>Simulated array"), "the title is another");
    ensure!(dom.contains("1 to 200 of 250") && dom.contains("snapshot=200"), "the snapshots are not paged");
    Ok(())
}
