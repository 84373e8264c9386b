//! The session insert by UNNEST of one array a column.

use sqlx::{AssertSqlSafe, PgConnection};
use weir::domain::SessionRecord;

pub async fn insert(
    connection: &mut PgConnection,
    table: &str,
    sessions: &[&SessionRecord],
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO {table} (id, visitor_id, bio_page_id, creator_id, landing_page, referrer, referrer_domain, utm_source,
            utm_medium, utm_campaign, utm_term, utm_content, device, browser, os, os_version, screen_width, screen_height,
            connection_type, timezone, language, country, city, region, continent, started_at, last_activity_at)
         SELECT *, started_at FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[],
            $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
            $15::text[], $16::text[], $17::int4[], $18::int4[], $19::text[], $20::text[], $21::text[], $22::text[],
            $23::text[], $24::text[], $25::text[], $26::timestamptz[])
            AS batch (id, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15, c16, c17, c18, c19, c20, c21, c22,
            c23, c24, c25, started_at)"
    );
    macro_rules! column {
        ($value:expr) => {
            sessions.iter().map($value).collect::<Vec<_>>()
        };
    }
    sqlx::query(AssertSqlSafe(sql))
        .bind(column!(|session| session.id))
        .bind(column!(|session| session.visitor.to_hex()))
        .bind(column!(|session| session.bio_page_id))
        .bind(column!(|session| session.creator_id))
        .bind(column!(|session| session.landing_page.as_str()))
        .bind(column!(|session| session.referrer.as_deref()))
        .bind(column!(|session| session.referrer_domain.as_str()))
        .bind(column!(|session| session.utm_source.as_deref()))
        .bind(column!(|session| session.utm_medium.as_deref()))
        .bind(column!(|session| session.utm_campaign.as_deref()))
        .bind(column!(|session| session.utm_term.as_deref()))
        .bind(column!(|session| session.utm_content.as_deref()))
        .bind(column!(|session| session.device.as_deref()))
        .bind(column!(|session| session.browser.as_deref()))
        .bind(column!(|session| session.os.as_deref()))
        .bind(column!(|session| session.os_version.as_deref()))
        .bind(column!(|session| session.screen_width.map(i32::from)))
        .bind(column!(|session| session.screen_height.map(i32::from)))
        .bind(column!(|session| session.connection_type.as_deref()))
        .bind(column!(|session| session.place.timezone.as_deref()))
        .bind(column!(|session| session.language.as_deref()))
        .bind(column!(|session| session.place.country.as_deref()))
        .bind(column!(|session| session.place.city.as_deref()))
        .bind(column!(|session| session.place.region.as_deref()))
        .bind(column!(|session| session.place.continent.as_deref()))
        .bind(column!(|session| session.started_at.to_datetime()))
        .execute(connection)
        .await?;
    Ok(())
}
