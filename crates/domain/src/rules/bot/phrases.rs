//! The phrases behind the rules for bots: of apps and phones that people use, and of programs that the contract's words miss.
//!
//! Each is matched as it stands, anywhere and whatever the case. A phrase of people has one of the contract's words in it,
//! or it would protect nobody. Sources: user agents in the test data of ua-parser's uap-core, in regex-filtered's sample of
//! traffic and in isbot's list of browsers, and what the vendors say of their own programs.
//! `scripts/check-bots` holds them against lists of crawlers.

/// Apps and devices of people.
pub(super) const PEOPLE: &[&str] = &[
    // Facebook's and Messenger's in-app browsers on Android, today and before.
    "MetaIAB Facebook",
    "FBPN/com.facebook.",
    // Mobile carriers by country, which the same apps name.
    "FBCR/OrangeBotswana",
    // X's in-app browsers.
    "Twitter for iPhone",
    "Twitter for iPad",
    "Twitter for Android",
    "TwitterAndroid",
    // LinkedIn's and Telegram's.
    "LinkedInApp",
    "Telegram-Android",
    "Telegram-iOS",
    // TikTok's on Android, installed from the store.
    "Channel/googleplay",
    // Instagram's on Pixels, which name maker and brand; other apps name the phone.
    "; Google/google;",
    "google Pixel",
    "google Nexus",
    // Instagram's on phones with this code name, and a phone of that name.
    "; ruby;",
    "HTC Ruby",
    "HTC_Ruby",
    "Build/Ruby",
    // Search apps with a browser in them.
    "GoogleApp/",
    "BingWeb/",
    "BingSapphire/",
    "Bing for iPad/",
    "Bing for iPhone/",
    "baiduboxapp",
    "baidubrowser",
    "(Baidu; P",
    "YandexSearch/",
    "YandexSearchBrowser/",
    // UC and others on phones that run Java programs, and a radio on Android.
    "(Java; U;",
    "(Java;U;",
    "(Java; Android)",
    // Phones.
    "; CUBOT",
    "; M BOT",
    // A television.
    "GoogleTV",
];

/// Programs that the contract's words miss, each with the label of its metric: automated browsers, monitors, libraries.
pub(super) const PROGRAMS: &[(&str, &str)] = &[
    ("HeadlessChrome", "headlesschrome"),
    ("Chrome-Lighthouse", "lighthouse"),
    ("Playwright", "playwright"),
    ("Puppeteer", "puppeteer"),
    ("PhantomJS", "phantomjs"),
    ("Selenium", "selenium"),
    ("Cypress/", "cypress"),
    ("PTST/", "ptst"),
    ("GTmetrix", "gtmetrix"),
    ("Pingdom", "pingdom"),
    ("StatusCake", "statuscake"),
    ("DatadogSynthetics", "datadogsynthetics"),
    ("Datadog/Synthetics", "datadogsynthetics"),
    ("NewRelicSynthetics", "newrelicsynthetics"),
    ("NewRelicMinion", "newrelicminion"),
    ("DynatraceSynthetic", "dynatracesynthetic"),
    ("Catchpoint", "catchpoint"),
    ("Checkly", "checkly"),
    ("Site24x7", "site24x7"),
    ("BetterStack", "betterstack"),
    ("Better Uptime", "betterstack"),
    ("Uptime-Kuma", "uptime-kuma"),
    ("Zabbix", "zabbix"),
    ("check_http", "check_http"),
    ("k6/", "k6"),
    ("axios/", "axios"),
    ("okhttp/", "okhttp"),
    ("GuzzleHttp", "guzzlehttp"),
    ("Scrapy", "scrapy"),
    ("aiohttp/", "aiohttp"),
    ("httpx/", "httpx"),
    ("undici", "undici"),
    ("got (https://", "got"),
    ("Apache-HttpClient", "apache-httpclient"),
    ("libwww-perl", "libwww-perl"),
    ("Dart/", "dart"),
    ("reqwest/", "reqwest"),
    ("PostmanRuntime", "postmanruntime"),
    ("insomnia/", "insomnia"),
    ("HTTPie/", "httpie"),
];
