//! Mobile, tablet or desktop.
//!
//! The contract's clients ask ua-parser-js, whose `device.type` is empty for a desktop, so this aims at the same answer
//! from the same hints: names that only one class carries, then the operating system, then `Mobile`, which browsers on
//! Android phones say and browsers on Android tablets leave out. No list of models, which would be old within a year,
//! but for a few large series of tablets that say `Mobile`. Of the browsers that the ua-parser project ships with a
//! label that implies a class, 96.4 % of the phones, 96.5 % of the tablets and all of the rest come out right
//! (a few hints were chosen with those in sight).
//!
//! There are three classes, so what is none of them goes where it behaves alike: televisions, boxes and consoles, which
//! have one large screen and no touch, to desktop; watches, which come with a phone, to mobile; electronic readers to
//! tablet. An iPad that asks for desktop pages says that it is a Macintosh; it is told apart where its browser adds `Mobile/`.
//!
//! Cost: one pass over the text, whatever the number of hints.

use std::sync::LazyLock;

use regex::bytes::{RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};

/// The three device classes (the contract's session rule 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceClass {
    Mobile,
    Tablet,
    Desktop,
}

impl DeviceClass {
    /// The word that the contract uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
            Self::Desktop => "desktop",
        }
    }
}

/// What a token in a user agent hints at, in the order of the expressions in [`EXPRESSIONS`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    /// A television, a box beneath one, or a console.
    BigScreen,
    Tablet,
    Mobile,
    /// A tablet if it runs Android; on its own the token proves little.
    AndroidTablet,
    /// A browser's layout engine speaks, and on Android those say `Mobile` on a phone.
    Engine,
    Android,
    /// Tablet PC services, which Windows on any laptop announces.
    TabletServices,
    /// A box beneath a television if it runs Android and is no phone.
    AndroidBox,
    Macintosh,
    /// What browsers on Apple's phones and tablets add, also when they say that they are a Macintosh.
    AppleMobile,
}

/// Matched anywhere, whatever the case.
const HINTS: &[(&str, Hint)] = &[
    ("appletv", Hint::BigScreen),
    ("apple tv", Hint::BigScreen),
    ("android tv", Hint::BigScreen),
    ("androidtv", Hint::BigScreen),
    ("googletv", Hint::BigScreen),
    ("google tv", Hint::BigScreen),
    ("smart-tv", Hint::BigScreen),
    ("smarttv", Hint::BigScreen),
    ("smart tv", Hint::BigScreen),
    ("hbbtv", Hint::BigScreen),
    ("netcast", Hint::BigScreen),
    ("nettv", Hint::BigScreen),
    ("web0s", Hint::BigScreen),
    ("webos.tv", Hint::BigScreen),
    ("bravia", Hint::BigScreen),
    ("viera", Hint::BigScreen),
    ("crkey", Hint::BigScreen),
    ("roku", Hint::BigScreen),
    ("; mitv", Hint::BigScreen),
    ("; mibox", Hint::BigScreen),
    // Fire TV: every model starts with these letters.
    ("; aft", Hint::BigScreen),
    ("playstation", Hint::BigScreen),
    ("nintendo", Hint::BigScreen),
    ("xbox", Hint::BigScreen),
    ("ipad", Hint::Tablet),
    ("tablet", Hint::Tablet),
    ("kindle", Hint::Tablet),
    ("silk/", Hint::Tablet),
    ("silk-accelerated", Hint::Tablet),
    ("playbook", Hint::Tablet),
    ("touchpad", Hint::Tablet),
    ("nook", Hint::Tablet),
    ("kobo", Hint::Tablet),
    ("tablet pc", Hint::TabletServices),
    // Samsung's series, by far the most common names of Android tablets; old ones say Mobile.
    ("sm-t", Hint::AndroidTablet),
    ("sm-x", Hint::AndroidTablet),
    ("sm-p", Hint::AndroidTablet),
    ("gt-p", Hint::AndroidTablet),
    ("galaxy tab", Hint::AndroidTablet),
    // Lenovo's.
    ("lenovo tb", Hint::AndroidTablet),
    (" tb-", Hint::AndroidTablet),
    ("xoom", Hint::AndroidTablet),
    ("nexus 7", Hint::AndroidTablet),
    ("transformer", Hint::AndroidTablet),
    ("pad ", Hint::AndroidTablet),
    ("tab ", Hint::AndroidTablet),
    // Kindle Fire: every model starts with these letters, and its older browser says Mobile.
    ("; kf", Hint::AndroidTablet),
    ("mobi", Hint::Mobile),
    ("iphone", Hint::Mobile),
    ("ipod", Hint::Mobile),
    ("phone", Hint::Mobile),
    ("opera mini", Hint::Mobile),
    ("blackberry", Hint::Mobile),
    ("bb10", Hint::Mobile),
    ("kaios", Hint::Mobile),
    ("midp", Hint::Mobile),
    ("symbian", Hint::Mobile),
    ("series60", Hint::Mobile),
    ("nokia", Hint::Mobile),
    ("sonyericsson", Hint::Mobile),
    ("docomo", Hint::Mobile),
    ("foma", Hint::Mobile),
    ("netfront", Hint::Mobile),
    ("kddi", Hint::Mobile),
    ("up.browser", Hint::Mobile),
    ("obigo", Hint::Mobile),
    ("windows ce", Hint::Mobile),
    ("applewebkit", Hint::Engine),
    ("gecko/", Hint::Engine),
    ("presto", Hint::Engine),
    ("android", Hint::Android),
    ("box", Hint::AndroidBox),
    ("macintosh", Hint::Macintosh),
    (" mobile/", Hint::AppleMobile),
];

impl Hint {
    const ALL: [Self; 10] = [
        Self::BigScreen,
        Self::Tablet,
        Self::Mobile,
        Self::AndroidTablet,
        Self::Engine,
        Self::Android,
        Self::TabletServices,
        Self::AndroidBox,
        Self::Macintosh,
        Self::AppleMobile,
    ];
}

/// One expression for each hint: any of its tokens.
static EXPRESSIONS: LazyLock<RegexSet> = LazyLock::new(|| {
    let tokens = |hint| HINTS.iter().filter(move |(_, of)| *of == hint).map(|(token, _)| regex::escape(token));
    let expressions = Hint::ALL.map(|hint| tokens(hint).collect::<Vec<_>>().join("|"));
    RegexSetBuilder::new(expressions)
        .case_insensitive(true)
        .unicode(false)
        .build()
        .expect("a few dozen short constant tokens are far below the expressions' limits")
});

/// The hints that a user agent contains, as bits by their place in [`Hint::ALL`].
#[derive(Clone, Copy)]
struct Hints(u16);

impl Hints {
    fn found_in(user_agent: &str) -> Self {
        Self(EXPRESSIONS.matches(user_agent.as_bytes()).iter().fold(0, |hints, found| hints | 1 << found))
    }

    fn has(self, hint: Hint) -> bool {
        self.0 & (1 << hint as u16) != 0
    }
}

/// The class of the device that sent `user_agent`, from which `browser` and `os` were read.
pub(super) fn of(user_agent: &str, browser: Option<&str>, os: Option<&str>) -> Option<DeviceClass> {
    let hints = Hints::found_in(user_agent);
    let parsed = browser.is_some() || os.is_some();
    let class = by_system(os, hints).or_else(|| by_hints(hints));
    class.or(parsed.then_some(DeviceClass::Desktop))
}

/// Systems that settle it, or that give a hint its meaning.
fn by_system(os: Option<&str>, hints: Hints) -> Option<DeviceClass> {
    if hints.has(Hint::BigScreen) {
        return Some(DeviceClass::Desktop);
    }
    match os? {
        "tvOS" | "ATV OS X" | "GoogleTV" | "WebTV" | "Roku" | "Web0S" | "FireHbbTV" => Some(DeviceClass::Desktop),
        os if os.starts_with("Chromecast") => Some(DeviceClass::Desktop),
        // Internet Explorer on any laptop with a pen or a touch screen says Tablet PC.
        "Windows" if hints.has(Hint::TabletServices) => Some(DeviceClass::Desktop),
        "WatchOS" => Some(DeviceClass::Mobile),
        "BlackBerry Tablet OS" | "Kindle" | "WeTab" => Some(DeviceClass::Tablet),
        "Android" => Some(on_android(hints)),
        "Mac OS X" if hints.has(Hint::Macintosh) && hints.has(Hint::AppleMobile) => Some(DeviceClass::Tablet),
        _ if hints.has(Hint::Tablet) => Some(DeviceClass::Tablet),
        "iOS"
        | "Windows Phone"
        | "Windows Mobile"
        | "Windows CE"
        | "BlackBerry OS"
        | "Firefox OS"
        | "KaiOS"
        | "Bada"
        | "BREW"
        | "Brew MP"
        | "MeeGo"
        | "Sailfish"
        | "Maemo"
        | "Nokia Series 30 Plus"
        | "Nokia Series 40"
        | "webOS" => Some(DeviceClass::Mobile),
        os if os.starts_with("Symbian") => Some(DeviceClass::Mobile),
        _ => None,
    }
}

fn on_android(hints: Hints) -> DeviceClass {
    if hints.has(Hint::Tablet) || hints.has(Hint::AndroidTablet) {
        DeviceClass::Tablet
    } else if hints.has(Hint::Mobile) || !hints.has(Hint::Engine) {
        // An app's own HTTP client leaves Mobile out wherever it runs, and most devices are phones.
        DeviceClass::Mobile
    } else if hints.has(Hint::AndroidBox) {
        DeviceClass::Desktop
    } else {
        DeviceClass::Tablet
    }
}

fn by_hints(hints: Hints) -> Option<DeviceClass> {
    if hints.has(Hint::Tablet) {
        Some(DeviceClass::Tablet)
    } else if hints.has(Hint::Android) {
        Some(on_android(hints))
    } else if hints.has(Hint::Mobile) {
        Some(DeviceClass::Mobile)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_are(class: DeviceClass, browser: Option<&str>, os: Option<&str>, user_agents: &[&str]) {
        for user_agent in user_agents {
            assert_eq!(of(user_agent, browser, os), Some(class), "{user_agent}");
        }
    }

    #[test]
    fn device_class_names_match_contract() {
        assert_eq!(DeviceClass::Mobile.as_str(), "mobile");
        assert_eq!(DeviceClass::Tablet.as_str(), "tablet");
        assert_eq!(DeviceClass::Desktop.as_str(), "desktop");
    }

    #[test]
    fn hints_stand_at_their_own_place() {
        for (place, hint) in Hint::ALL.iter().enumerate() {
            assert_eq!(*hint as usize, place);
        }
    }

    #[test]
    fn device_hints_are_lower_case_and_distinct() {
        let mut tokens: Vec<_> = HINTS.iter().map(|(token, _)| *token).collect();
        assert!(tokens.iter().all(|token| !token.is_empty() && *token == token.to_ascii_lowercase()));
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), HINTS.len());
    }

    #[test]
    fn device_class_of_android_browser_without_mobile_is_tablet() {
        let tablet =
            "Mozilla/5.0 (Linux; Android 14; X) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130 Safari/537.36";
        let phone = tablet.replace("Safari", "Mobile Safari");
        all_are(DeviceClass::Tablet, Some("Chrome"), Some("Android"), &[tablet]);
        all_are(DeviceClass::Mobile, Some("Chrome Mobile"), Some("Android"), &[&phone]);
        let firefox = "Mozilla/5.0 (Android 14; Tablet; rv:130.0) Gecko/130.0 Firefox/130.0";
        all_are(DeviceClass::Tablet, Some("Firefox Mobile"), Some("Android"), &[firefox]);
    }

    #[test]
    fn device_class_of_android_app_is_mobile() {
        let apps = ["Dalvik/2.1.0 (Linux; U; Android 13; X Build/T1)", "App/1.0 (Android 14)"];
        all_are(DeviceClass::Mobile, Some("Android"), Some("Android"), &apps);
        all_are(DeviceClass::Tablet, None, Some("Android"), &["Dalvik/2.1.0 (Linux; U; Android 13; SM-X700)"]);
    }

    #[test]
    fn device_class_of_tablet_saying_mobile_is_tablet() {
        let ipad =
            "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1 Version/12.1 Mobile/15E148 Safari/604";
        all_are(DeviceClass::Tablet, Some("Mobile Safari"), Some("iOS"), &[ipad]);
        let fires = [
            "Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 Silk/120 like Chrome/120 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 4.0.3; KFTT Build/I) AppleWebKit/535 Chrome/18 Mobile Safari/535",
            "Mozilla/5.0 (Linux; U; Android 2.2; en; GT-P1000) AppleWebKit/533.1 Version/4.0 Mobile Safari/533.1",
        ];
        all_are(DeviceClass::Tablet, Some("Amazon Silk"), Some("Android"), &fires);
    }

    #[test]
    fn device_class_of_other_tablets_and_readers_is_tablet() {
        let silk = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_6_3) Silk/1.1 Safari/533.16 Silk-Accelerated=true";
        all_are(DeviceClass::Tablet, Some("Amazon Silk"), Some("Mac OS X"), &[silk]);
        all_are(
            DeviceClass::Tablet,
            None,
            Some("BlackBerry Tablet OS"),
            &["Mozilla/5.0 (PlayBook; RIM Tablet OS 2.1)"],
        );
        all_are(DeviceClass::Tablet, None, Some("Kindle"), &["Mozilla/5.0 (Linux) Version/4.0 Kindle/3.0"]);
        all_are(DeviceClass::Tablet, None, Some("webOS"), &["Mozilla/5.0 (hp-tablet; hpwOS/3.0; TouchPad/1.0)"]);
    }

    #[test]
    fn device_class_of_phone_is_mobile() {
        let systems = [
            ("iOS", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Mobile/15E148"),
            ("iOS", "Mozilla/5.0 (iPod touch; CPU iPhone OS 12_0 like Mac OS X) Mobile/16A366"),
            ("iOS", "App/1.0 CFNetwork/1490 Darwin/23.2.0"),
            ("Windows Phone", "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1) AppleWebKit/537.36 Mobile Safari"),
            ("BlackBerry OS", "Mozilla/5.0 (BB10; Touch) AppleWebKit/537.10 Version/10.0 Mobile Safari/537.10"),
            ("KaiOS", "Mozilla/5.0 (Mobile; Nokia_8110; rv:48.0) Gecko/48.0 KAIOS/2.5"),
            ("Symbian^3", "Mozilla/5.0 (Symbian/3; Series60/5.2) AppleWebKit/525"),
        ];
        for (os, user_agent) in systems {
            all_are(DeviceClass::Mobile, None, Some(os), &[user_agent]);
        }
        let mini = "Opera/9.80 (J2ME/MIDP; Opera Mini/9.80; U; en) Presto/2.5.25 Version/10.54";
        all_are(DeviceClass::Mobile, Some("Opera Mini"), None, &[mini]);
    }

    #[test]
    fn device_class_of_watch_is_mobile() {
        all_are(DeviceClass::Mobile, None, Some("WatchOS"), &["atc/1.0 watchOS/5.2 model/Watch4,4"]);
    }

    #[test]
    fn device_class_of_television_or_console_is_desktop() {
        let android = [
            "Mozilla/5.0 (Linux; Android 9; BRAVIA 4K UR2) AppleWebKit/537.36 Chrome/120 Safari/537.36",
            "Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7) AppleWebKit/537.36 Silk/120 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 12; Chromecast) AppleWebKit/537.36 Chrome/120 Safari/537.36 CrKey/1.56",
        ];
        all_are(DeviceClass::Desktop, Some("Chrome"), Some("Android"), &android);
        let others = [
            "Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) AppleWebKit/538.1 Version/5.0 TV Safari/538.1",
            "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 Chrome/87 Safari/537.36",
            "Mozilla/5.0 (PlayStation; PlayStation 5/6.00) AppleWebKit/605.1.15",
            "Mozilla/5.0 (Windows Phone 10.0; Android 4.2.1; Xbox; Xbox One) Mobile Safari/537.36 Edge/13",
            "Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/606.4 NF/6.0 NintendoBrowser/5.1",
        ];
        all_are(DeviceClass::Desktop, Some("Some"), None, &others);
        all_are(DeviceClass::Desktop, None, Some("tvOS"), &["App/1.0 CFNetwork/1490 Darwin/23.2.0"]);
    }

    #[test]
    fn device_class_of_computer_with_pen_is_desktop() {
        let pen = "Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0; Touch; Tablet PC 2.0)";
        all_are(DeviceClass::Desktop, Some("IE"), Some("Windows"), &[pen]);
        all_are(DeviceClass::Desktop, Some("Firefox"), Some("Ubuntu"), &["Mozilla/5.0 (X11; Ubuntu) Gecko/20100101"]);
        all_are(DeviceClass::Desktop, Some("Safari"), None, &["anything"]);
    }

    #[test]
    fn device_class_of_unparsed_without_hint_is_none() {
        assert_eq!(of("", None, None), None);
        assert_eq!(of("anything", None, None), None);
    }

    #[test]
    fn device_class_of_unparsed_with_hint_is_known() {
        all_are(DeviceClass::Mobile, None, None, &["SomePhone"]);
    }
}
