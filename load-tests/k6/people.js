// Who comes: user agents, where from, and what each visitor calls itself.

const BROWSERS = [
  ["desktop", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36"],
  ["desktop", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0"],
  ["desktop", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"],
  ["desktop", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15"],
  ["desktop", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"],
  ["mobile", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"],
  ["tablet", "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1"],
  ["mobile", "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36"],
  ["mobile", "Mozilla/5.0 (Linux; Android 15; SM-S928B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36"],
];

const BOTS = [
  "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
  "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
  "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
  "WhatsApp/2.23.20.0",
  "curl/8.5.0",
  "python-requests/2.32.3",
];

const REFERRERS = [
  "https://www.instagram.com/alice",
  "https://www.tiktok.com/@alice",
  "https://news.example.org/articles/42?from=front",
  "android-app://com.example.reader/",
  "not a url",
];

export const pick = (list) => list[Math.floor(Math.random() * list.length)];

export function uuid() {
  return "xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx".replace(/x/g, () => Math.floor(Math.random() * 16).toString(16));
}

// Where a run's addresses begin: at a place of its own, so that it does not meet the throttles of the run before.
export const firstAddress = () => ({
  v4: Math.floor(Math.random() * 0x20000),
  v6: Math.floor(Math.random() * 0x100000000),
});

// Every visitor has an address of its own: of 198.18.0.0/15, the networks set aside for benchmarks, or a /64 of
// 2001:db8::/32, the one set aside for documentation. The first kind comes round again after 262,144 visitors.
function address(first, number) {
  const turn = number >> 1;
  if (number % 2 === 0) {
    const n = (first.v4 + turn) % 0x20000;
    return `198.${18 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`;
  }
  const n = (first.v6 + turn) % 0x100000000;
  return `2001:db8:${Math.floor(n / 0x10000).toString(16)}:${(n % 0x10000).toString(16)}::1`;
}

export function visitor(first, number) {
  const [device, userAgent] = pick(BROWSERS);
  return {
    number,
    id: uuid(),
    address: address(first, number),
    // Nobody has had that address in the last five minutes, so nobody is known by it.
    unknown: number % 2 === 1,
    device,
    userAgent,
    // What the visitor looks at carries its number: the same view stored twice can be told from two views.
    url: (page) => `https://example.com/alice/${page}?visit=${number}`,
  };
}

export const asBot = (visitor) => ({ ...visitor, userAgent: pick(BOTS) });

export function sessionOf(visitor) {
  const body = {
    visitorId: visitor.id,
    landingPage: visitor.url(pick(["", "çiğdem", "links"])),
    consentAnalytics: "granted",
    language: pick(["en-US", "tr-TR", "de-DE"]),
    timezone: pick(["Europe/Istanbul", "Europe/Berlin", "America/New_York"]),
    connectionType: pick(["4g", "wifi", null]),
    screenWidth: pick([390, 1280, 1920, 0, 7680]),
    screenHeight: pick([844, 720, 1080]),
    utmSource: "k6",
    utmMedium: "test",
    aFieldOfTomorrow: { ignored: true },
  };
  if (Math.random() < 0.6) body.referrer = pick(REFERRERS);
  return body;
}

// What the first page of a visit tells /track/init, and the user that may come of it is told by /users/attribution.
export const originOf = (visitor) => ({
  utmSource: "k6",
  utmMedium: pick(["story", "mail"]),
  utmCampaign: `campaign ${visitor.number % 7}`,
  referrer: "https://www.instagram.com/alice",
  landingUrl: `https://example.com/welcome/${visitor.number % 10}?utm_source=k6`,
});
