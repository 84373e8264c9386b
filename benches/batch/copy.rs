//! The session insert by binary COPY, the whole batch in one send.

use sqlx::PgConnection;
use weir::domain::SessionRecord;
use weir::store::postgres::CopyBuffer;

pub async fn insert(
    connection: &mut PgConnection,
    table: &str,
    sessions: &[&SessionRecord],
) -> Result<(), sqlx::Error> {
    let mut rows = CopyBuffer::with_rows(sessions.len());
    for session in sessions {
        write_session(&mut rows, session);
    }
    let mut copy = connection
        .copy_in_raw(&format!(
            "COPY {table} (id, visitor_id, bio_page_id, creator_id, landing_page, referrer, referrer_domain, utm_source,
                utm_medium, utm_campaign, utm_term, utm_content, device, browser, os, os_version, screen_width,
                screen_height, connection_type, timezone, language, country, city, region, continent, started_at,
                last_activity_at) FROM STDIN WITH (FORMAT binary)"
        ))
        .await?;
    copy.send(rows.finish()).await?;
    copy.finish().await?;
    Ok(())
}

fn write_session(rows: &mut CopyBuffer, session: &SessionRecord) {
    rows.row(27);
    rows.uuid(Some(session.id));
    rows.text(Some(&session.visitor.to_hex()));
    rows.uuid(session.bio_page_id);
    rows.uuid(session.creator_id);
    rows.text(Some(&session.landing_page));
    rows.text(session.referrer.as_deref());
    rows.text(Some(&session.referrer_domain));
    rows.text(session.utm_source.as_deref());
    rows.text(session.utm_medium.as_deref());
    rows.text(session.utm_campaign.as_deref());
    rows.text(session.utm_term.as_deref());
    rows.text(session.utm_content.as_deref());
    rows.text(session.device.as_deref());
    rows.text(session.browser.as_deref());
    rows.text(session.os.as_deref());
    rows.text(session.os_version.as_deref());
    rows.integer(session.screen_width.map(i32::from));
    rows.integer(session.screen_height.map(i32::from));
    rows.text(session.connection_type.as_deref());
    rows.text(session.place.timezone.as_deref());
    rows.text(session.language.as_deref());
    rows.text(session.place.country.as_deref());
    rows.text(session.place.city.as_deref());
    rows.text(session.place.region.as_deref());
    rows.text(session.place.continent.as_deref());
    rows.time(session.started_at);
    rows.time(session.started_at);
}
