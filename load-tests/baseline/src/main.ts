// A tracking endpoint as such services are usually written: validate, enrich, await one INSERT, answer with its id. It is
// there to be measured beside Weir (load-tests/compare), and is no part of it.
import "reflect-metadata";
import { createHash, createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { Body, Controller, Headers, HttpCode, Module, Post } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { FastifyAdapter, type NestFastifyApplication } from "@nestjs/platform-fastify";
import { PrismaPg } from "@prisma/adapter-pg";
import { UAParser } from "ua-parser-js";
import { PrismaClient } from "./generated/client.js";

const BUCKET_MS = 300_000;
const BOTS = /bot|crawl|spider|slurp|headless/i;

const database = process.env.DATABASE_URL ?? "";
const secret = process.env.TRACKING_HMAC_SECRET ?? "";
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: database, max: 10 }) });

interface Visit {
  visitorId: string;
  landingPage: string;
  consentAnalytics?: string;
  bioPageId?: string;
  trackingToken?: string;
  referrer?: string;
  utmSource?: string;
  utmMedium?: string;
  utmCampaign?: string;
  screenWidth?: number;
  screenHeight?: number;
  timezone?: string;
  language?: string;
}

function isTokenOf(page: string, token: string): boolean {
  const bucket = Math.floor(Date.now() / BUCKET_MS);
  return [bucket, bucket - 1].some((bucket) => {
    const expected = createHmac("sha256", secret).update(`${page}:${bucket}`).digest("hex").slice(0, 32);
    return expected.length === token.length && timingSafeEqual(Buffer.from(expected), Buffer.from(token));
  });
}

function domainOf(referrer?: string): string {
  try {
    return new URL(referrer ?? "").hostname.replace(/^www\./, "") || "direct";
  } catch {
    return "direct";
  }
}

@Controller("api/v1/analytics")
class Analytics {
  @Post("session")
  @HttpCode(200)
  async session(@Body() visit: Visit, @Headers("user-agent") userAgent = "") {
    const refused = { success: true, data: { id: null } };
    if (typeof visit?.visitorId !== "string" || typeof visit.landingPage !== "string") return refused;
    if (BOTS.test(userAgent) || visit.consentAnalytics !== "granted") return refused;
    if (visit.bioPageId && !isTokenOf(visit.bioPageId, visit.trackingToken ?? "")) return refused;
    const agent = new UAParser(userAgent).getResult();
    const now = new Date();
    const { id } = await prisma.analyticsSession.create({
      select: { id: true },
      data: {
        id: randomUUID(),
        visitorId: createHash("sha256").update(visit.visitorId).digest("hex"),
        bioPageId: visit.bioPageId,
        landingPage: visit.landingPage,
        referrer: visit.referrer,
        referrerDomain: domainOf(visit.referrer),
        utmSource: visit.utmSource,
        utmMedium: visit.utmMedium,
        utmCampaign: visit.utmCampaign,
        device: agent.device.type ?? "desktop",
        browser: agent.browser.name,
        os: agent.os.name,
        osVersion: agent.os.version,
        screenWidth: visit.screenWidth,
        screenHeight: visit.screenHeight,
        timezone: visit.timezone,
        language: visit.language,
        startedAt: now,
        lastActivityAt: now,
      },
    });
    return { success: true, data: { id, createdAt: now.toISOString() } };
  }
}

@Module({ controllers: [Analytics] })
class Service {}

const [host, port] = (process.argv[2] ?? "127.0.0.1:8082").split(":");
const app = await NestFactory.create<NestFastifyApplication>(Service, new FastifyAdapter(), { logger: false });
await prisma.$executeRawUnsafe(`CREATE TABLE IF NOT EXISTS analytics_sessions (
  id uuid PRIMARY KEY, visitor_id text NOT NULL, bio_page_id uuid, landing_page text NOT NULL, referrer text,
  referrer_domain text NOT NULL, utm_source text, utm_medium text, utm_campaign text, device text, browser text, os text,
  os_version text, screen_width integer, screen_height integer, timezone text, language text,
  started_at timestamptz NOT NULL, last_activity_at timestamptz NOT NULL)`);
await prisma.$executeRawUnsafe("CREATE INDEX IF NOT EXISTS by_page ON analytics_sessions (bio_page_id)");
await prisma.$executeRawUnsafe("CREATE INDEX IF NOT EXISTS by_time ON analytics_sessions (started_at)");
await app.listen(Number(port), host);
