//! The user-agent parser against other people's data: the labelled user agents that ship inside the `ua-parser`
//! package, and `uaparser`, the older implementation of the same expressions, as an oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::thread;

use serde::Deserialize;
use uaparser::Parser as _;
use weir::enrich::user_agent::{DeviceClass, UserAgentParser};
use weir_domain::{BotFilter, BotRule};
use weir_testkit::packages::Packages;

static PACKAGES: LazyLock<Packages> = LazyLock::new(Packages::locate);
static PARSER: LazyLock<UserAgentParser> = LazyLock::new(|| UserAgentParser::new().unwrap());

/// One labelled user agent. Which of the labels are there depends on the file.
#[derive(Deserialize)]
struct Case {
    user_agent_string: String,
    family: String,
    brand: Option<String>,
    model: Option<String>,
}

#[derive(Deserialize)]
struct Cases {
    test_cases: Vec<Case>,
}

fn cases(path: &str) -> Vec<Case> {
    let yaml = PACKAGES.read("ua-parser", path);
    // The defaults bound what a hostile document may cost; these files are long, and nobody's attack.
    let options = serde_saphyr::options! { budget: None };
    let cases: Cases = serde_saphyr::from_str_with_options(&yaml, options).unwrap();
    cases.test_cases
}

/// Every user agent in the test files of `ua-parser`'s package and in the traffic that `regex-filtered` ships, once.
fn user_agents() -> Vec<String> {
    let labelled = [
        "tests/test_device.yaml",
        "tests/test_os.yaml",
        "tests/test_ua.yaml",
        "test_resources/additional_os_tests.yaml",
        "test_resources/firefox_user_agent_strings.yaml",
        "test_resources/opera_mini_user_agent_strings.yaml",
        "test_resources/pgts_browser_list.yaml",
        "test_resources/podcasting_user_agent_strings.yaml",
    ];
    let mut distinct = BTreeSet::new();
    for file in labelled {
        let found = cases(&format!("uap-core/{file}"));
        println!("{:6} user agents in {file}", found.len());
        distinct.extend(found.into_iter().map(|case| case.user_agent_string));
    }
    let sample = PACKAGES.read("regex-filtered", "samples/useragents.txt");
    let sample: Vec<&str> = sample.lines().collect();
    println!("{:6} user agents in regex-filtered's sample of real traffic", sample.len());
    distinct.extend(sample.into_iter().map(str::to_owned));
    distinct.into_iter().collect()
}

/// A family as both implementations mean it: `Other` and nothing at all are the same.
fn family(family: &str) -> Option<&str> {
    let family = family.trim();
    (!family.is_empty() && family != "Other").then_some(family)
}

#[test]
fn user_agent_families_match_reference_implementation() {
    // Without unicode classes, which `ua-parser` does not use either and which cost much memory.
    let oracle = uaparser::UserAgentParser::builder()
        .with_unicode_support(false)
        .with_device(false)
        .build_from_bytes(PACKAGES.read("ua-parser", "uap-core/regexes.yaml").as_bytes())
        .unwrap();
    let user_agents = user_agents();
    let differing = |user_agent: &&String| {
        let ours = PARSER.parse(user_agent);
        let browser = oracle.parse_user_agent(user_agent).family;
        let os = oracle.parse_os(user_agent).family;
        // Weir does not take the name of any Apple app for a browser's.
        let is_app = ours.browser.is_none() && user_agent.contains(" CFNetwork/");
        let is_long = ours.browser.is_none() && browser.chars().count() > 64;
        (ours.browser.as_deref() != family(&browser) && !is_app && !is_long) || ours.os.as_deref() != family(&os)
    };
    let differences: Vec<&String> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let parts = user_agents.chunks(user_agents.len().div_ceil(threads));
        let parts: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().filter(differing).collect::<Vec<_>>())).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    println!("{} of {} distinct user agents have other families", differences.len(), user_agents.len());
    for user_agent in differences.iter().take(20) {
        let browser = oracle.parse_user_agent(user_agent).family;
        let os = oracle.parse_os(user_agent).family;
        println!("{user_agent}\n  ours {:?}\n  theirs {browser:?}, {os:?}", PARSER.parse(user_agent));
    }
    assert!(user_agents.len() > 50_000, "the packages no longer ship what this test reads");
    assert_eq!(differences.len(), 0);
}

/// The class that the labels of `test_device.yaml` imply, where they imply one. The labels are a family, a brand and a
/// model, so this reads names, never the user agent and nothing that the parser under test said:
///
/// - mobile: Apple's phones, players and watches, the generic phones, brands that only ever made phones, and series of
///   phones of brands that made both;
/// - tablet: names with the word tablet, tab, pad or slate in them, electronic readers, and series of tablets;
/// - desktop: Macs, televisions, boxes and consoles.
///
/// Most labels name an Android model that tells nothing, and those user agents are not counted.
fn class_of_label(case: &Case) -> Option<DeviceClass> {
    const BIG_SCREENS: &[&str] = &[
        "hbbtv",
        "netcast",
        "inettv",
        "chromecast",
        "roku",
        "appletv",
        "apple tv",
        "googletv",
        "webtv",
        "playstation",
        "nintendo",
        "xbox",
        "fire tv",
        "bravia",
    ];
    const TABLETS: &[&str] = &[
        "tablet",
        "ipad",
        "mediapad",
        "galaxy tab",
        "mi pad",
        "transformer",
        "xoom",
        "kindle",
        "playbook",
        "touchpad",
        "nook",
        "kobo",
        "iconia",
        "nexus 7",
        "nexus 9",
        "nexus 10",
        "slate",
        "gt-p",
        "sm-t",
        "sm-p",
        "sm-x",
    ];
    const PHONES: &[&str] = &[
        "iphone",
        "ipod",
        "apple watch",
        "smartphone",
        "feature phone",
        "nexus 4",
        "nexus 5",
        "nexus one",
        "nexus s",
        "galaxy nexus",
        "optimus",
        "xperia",
        "lumia",
        "desire",
        "wildfire",
        "sensation",
        "incredible",
        "htc one",
        "gt-i",
        "gt-s",
        "gt-c",
        "gt-b",
        "sgh-i",
        "sm-g",
        "sm-n9",
        "sm-a",
        "sm-j",
        "moto g",
        "moto x",
        "droid",
        "razr",
        "zenfone",
        "redmi",
        "mate ",
        "ascend",
    ];
    const PHONE_BRANDS: &[&str] = &["Nokia", "SonyEricsson", "BlackBerry", "Siemens", "DoCoMo", "Kyocera", "Palm"];

    let brand = case.brand.as_deref().unwrap_or_default();
    let name = format!("{} {}", case.family, case.model.as_deref().unwrap_or_default()).to_lowercase();
    let names = |list: &[&str]| list.iter().any(|word| name.contains(word));
    let words = || name.split(|c: char| !c.is_alphanumeric());
    if case.family == "Mac" || names(BIG_SCREENS) {
        Some(DeviceClass::Desktop)
    } else if names(TABLETS) || words().any(|word| matches!(word, "tab" | "pad")) {
        Some(DeviceClass::Tablet)
    } else if names(PHONES) || PHONE_BRANDS.contains(&brand) {
        Some(DeviceClass::Mobile)
    } else {
        None
    }
}

/// The class that a system implies, where it implies one: systems that only computers have. Weir's rule gets the system
/// from the same expressions that this label checks, so this shows only that no hint overrules a computer.
fn class_of_system(case: &Case) -> Option<DeviceClass> {
    const COMPUTERS: &[&str] = &[
        "Windows",
        "Mac OS X",
        "Mac OS",
        "Chrome OS",
        "Ubuntu",
        "Debian",
        "Fedora",
        "Gentoo",
        "Red Hat",
        "Linux Mint",
        "CentOS",
        "PCLinuxOS",
        "Puppy",
        "Slackware",
        "Mandriva",
        "FreeBSD",
        "OpenBSD",
        "NetBSD",
        "BSD",
        "Solaris",
    ];
    COMPUTERS.contains(&case.family.as_str()).then_some(DeviceClass::Desktop)
}

#[derive(Clone, Copy, Default)]
struct Score {
    right: u32,
    all: u32,
}

/// Whether a browser sent this. The others are apps' own names and telephones' bare model numbers, in which there is
/// often nothing to parse.
fn is_browser(case: &Case) -> bool {
    case.user_agent_string.starts_with("Mozilla/") || case.user_agent_string.starts_with("Opera/")
}

/// Counts, for each class that a label implies, how often the parser agrees. Bots are left out: they never get as far
/// as the parser. `WEIR_SHOW_MISSES=1` prints what it got wrong.
fn score<'a>(
    title: &str,
    cases: impl Iterator<Item = &'a Case>,
    implied: fn(&Case) -> Option<DeviceClass>,
) -> BTreeMap<&'static str, Score> {
    let mut scores: BTreeMap<_, Score> = BTreeMap::new();
    let bots = BotFilter::new(BotRule::Original, &[], &[]).unwrap();
    for case in cases.filter(|case| bots.find(&case.user_agent_string).is_none()) {
        let Some(expected) = implied(case) else { continue };
        let parsed = PARSER.parse(&case.user_agent_string).device;
        let score = scores.entry(expected.as_str()).or_default();
        score.all += 1;
        if parsed == Some(expected) {
            score.right += 1;
        } else if std::env::var_os("WEIR_SHOW_MISSES").is_some() {
            println!("{} as {parsed:?}: {} | {}", expected.as_str(), case.family, case.user_agent_string);
        }
    }
    for (class, Score { right, all }) in &scores {
        println!("{title}: {right} of {all} {class} right");
    }
    scores
}

#[test]
fn device_class_agrees_with_labels_above_floor() {
    let cases = cases("uap-core/tests/test_device.yaml");
    println!("{} labelled user agents", cases.len());
    let everything = score("everything", cases.iter(), class_of_label);
    let browsers = score("browsers", cases.iter().filter(|case| is_browser(case)), class_of_label);
    // Measured with ua-parser 0.2.2, of everything: 3764 of 4192, 482 of 511, 188 of 188; of browsers: 2032 of 2107,
    // 442 of 458, 161 of 161. What is missed: phones that leave Mobile out, small tablets that
    // say it. Five hints were added after a look at the misses, so these figures are not those of unseen data.
    let floors = [
        (&everything, "mobile", 4000, 890),
        (&everything, "tablet", 480, 930),
        (&everything, "desktop", 180, 990),
        (&browsers, "mobile", 2000, 955),
        (&browsers, "tablet", 430, 955),
        (&browsers, "desktop", 150, 990),
    ];
    for (scores, class, at_least, per_mille) in floors {
        let Score { right, all } = scores[class];
        assert!(all >= at_least, "only {all} labels imply {class}");
        assert!(right * 1000 >= all * per_mille, "{class}: {right} of {all}");
    }
}

#[test]
fn device_class_of_computer_systems_is_desktop() {
    let mut cases_by_system = cases("uap-core/tests/test_os.yaml");
    cases_by_system.extend(cases("uap-core/test_resources/additional_os_tests.yaml"));
    let Score { right, all } = score("computers", cases_by_system.iter(), class_of_system)["desktop"];
    assert!(all >= 110);
    // Measured: all but a Braille display that runs Windows CE, which is rightly none.
    assert!(right + 1 >= all, "{right} of {all}");
}
