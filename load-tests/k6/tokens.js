// What the renderer of a bio page and an account service make: tracking tokens and access tokens.
import crypto from "k6/crypto";
import encoding from "k6/encoding";

const BUCKET_MS = 300000;

// The first 32 hex characters of HMAC-SHA256 over the page's id and the five minutes that it was rendered in.
export function trackingToken(secret, bioPageId) {
  const bucket = Math.floor(Date.now() / BUCKET_MS);
  return crypto.hmac("sha256", secret, `${bioPageId}:${bucket}`, "hex").slice(0, 32);
}

const HEADER = encoding.b64encode(JSON.stringify({ alg: "HS256", typ: "JWT" }), "rawurl");

// An hour's access token (RFC 7519, HS256).
export function accessToken(secret, user) {
  const now = Math.floor(Date.now() / 1000);
  const claims = encoding.b64encode(JSON.stringify({ sub: user, iat: now, exp: now + 3600 }), "rawurl");
  return `${HEADER}.${claims}.${crypto.hmac("sha256", secret, `${HEADER}.${claims}`, "base64rawurl")}`;
}
