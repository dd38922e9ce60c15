use super::*;

fn section(extra: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base = [
        ("tengling_sanip", "192.0.2.10"),
        ("tengling_username", "admin"),
        ("tengling_password", "canary-secret"),
        ("tengling_storagepool", "pool0"),
    ];
    base.iter().chain(extra).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn urls(sanip: &str) -> Result<Vec<String>, String> {
    TenglingConfig::from_options(&section(&[("tengling_sanip", sanip)]))
        .map(|(c, _)| c.endpoints.iter().map(ToString::to_string).collect())
        .map_err(|e| e.to_string())
}

#[test]
fn the_documented_section_is_accepted_as_it_stands() {
    let (config, warnings) = TenglingConfig::from_options(&section(&[
        ("volume_backend_name", "tldriver"),
        ("volume_driver", crate::CLASS),
        ("tengling_max_clone_depth", "5"),
        ("tengling_flatten_volume_from_snapshot", "True"),
        ("image_volume_cache_enabled", "on"),
    ]))
    .unwrap();
    assert_eq!(warnings, []);
    assert_eq!((config.max_clone_depth, config.flatten_volume_from_snapshot), (5, true));
    assert_eq!(config.backend_name, "tldriver");
    assert_eq!(config.over_subscription, OverSubscription::Ratio(20.0));
    assert!(!config.tls.verify);
    assert!(!format!("{config:?}").contains("canary-secret"));
}

#[test]
fn endpoints_take_every_documented_form() {
    assert_eq!(urls("192.0.2.10").unwrap(), ["https://192.0.2.10:8088/deviceManager/rest/"]);
    assert_eq!(
        urls("san-a:443; http://127.0.0.1:8080/deviceManager/rest/;fe80::1;[::1]:99;https://[2001:db8::2]/x")
            .unwrap(),
        [
            "https://san-a:443/deviceManager/rest/",
            "http://127.0.0.1:8080/deviceManager/rest/",
            "https://[fe80::1]:8088/deviceManager/rest/",
            "https://[::1]:99/deviceManager/rest/",
            "https://[2001:db8::2]:8088/x/",
        ]
    );
    for bad in
        ["ftp://x/", "a/b", "host:0", "host:70000", "[::1", "https://u:p@h/", "a b", ";", "http://h/\u{e9}/"]
    {
        let problem = urls(bad).unwrap_err();
        assert!(problem.starts_with("tengling_sanip: "), "{bad}: {problem}");
        assert!(!problem.contains("u:p"));
    }
}

#[test]
fn unknown_keys_and_bad_values_name_the_key() {
    for (key, value) in [
        ("tengling_sanipp", "x"),
        ("tengling_max_clone_depth", "five"),
        ("tengling_flatten_volume_from_snapshot", "maybe"),
        ("reserved_percentage", "101"),
        ("max_over_subscription_ratio", "0.5"),
        ("max_over_subscription_ratio", "NaN"),
        ("tengling_storagepool", "a;a"),
        ("tengling_password", " "),
    ] {
        let error = TenglingConfig::from_options(&section(&[(key, value)])).unwrap_err();
        assert_eq!(error.key, key);
        assert!(!error.to_string().contains("canary-secret"));
    }
    let chap = TenglingConfig::from_options(&section(&[("use_chap_auth", "1")])).unwrap_err();
    assert_eq!(chap.key, "chap_username");
}

#[test]
fn foreign_keys_only_warn() {
    let (_, warnings) = TenglingConfig::from_options(&section(&[("san_thin_provision", "x")])).unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].key, "san_thin_provision");
}

#[test]
fn chap_pools_and_ratio() {
    let (config, warnings) = TenglingConfig::from_options(&section(&[
        ("use_chap_auth", "YES"),
        ("chap_username", "u"),
        ("chap_password", "short"),
        ("tengling_storagepool", "fast; slow"),
        ("max_over_subscription_ratio", "auto"),
        ("tengling_max_clone_depth", "-1"),
    ]))
    .unwrap();
    assert_eq!(config.pools, ["fast", "slow"]);
    assert_eq!(config.over_subscription, OverSubscription::Auto);
    assert_eq!(config.max_clone_depth, -1);
    assert_eq!(warnings[0].key, "chap_password");
    assert!(!format!("{config:?}").contains("short"));
}

#[test]
fn limits_of_a_tenant_are_checked_though_others_read_them() {
    for key in TENANT {
        for (text, right) in [("-1", true), ("0", true), ("10", true), ("-2", false), ("ten", false)] {
            let read = TenglingConfig::from_options(&section(&[(*key, text)]));
            match read {
                Ok((_, warnings)) => assert!(right && warnings.is_empty(), "{key}={text}: {warnings:?}"),
                Err(problem) => assert!(!right && problem.to_string().starts_with(*key), "{problem}"),
            }
        }
    }
}
