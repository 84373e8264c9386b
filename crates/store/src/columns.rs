//! The columns of the analytics tables: those of the records, and behind them those that later records change.
//!
//! Both engines fill them in this order. On PostgreSQL it is also the order of the row types (migration `0005_row_types`): a
//! field that is added to a record takes a new migration with types in the new order.

use weir_domain::{PageviewRecord, RowWriter, SessionRecord};

use super::fold::{NewSession, NewView};

/// What of a session changes.
const SESSION_STATE: [&str; 5] = ["user_id", "page_views", "bounced", "duration", "last_activity_at"];
/// What of a view changes.
const VIEW_STATE: [&str; 2] = ["duration", "scroll_depth"];

/// The values of columns that only a state has, beside those of a record.
pub(super) trait StateWriter<'q>: RowWriter<'q> {
    fn boolean(&mut self, value: bool);
    fn double(&mut self, value: Option<f64>);
}

/// A row that is to be made.
pub(super) trait NewRow {
    const TABLE: &'static str;

    /// Every column, in the order in which `write` fills them.
    fn columns() -> Vec<&'static str>;

    fn write<'q>(&'q self, row: &mut impl StateWriter<'q>);
}

impl NewRow for NewSession<'_> {
    const TABLE: &'static str = SessionRecord::TABLE;

    fn columns() -> Vec<&'static str> {
        [SessionRecord::COLUMNS, &SESSION_STATE].concat()
    }

    fn write<'q>(&'q self, row: &mut impl StateWriter<'q>) {
        let (session, state) = self;
        session.write_row(row);
        row.text(state.user_id.as_deref());
        row.integer(Some(state.page_views));
        row.boolean(state.bounced);
        row.integer(Some(state.duration_seconds));
        row.time(state.last_activity_at);
    }
}

impl NewRow for NewView<'_> {
    const TABLE: &'static str = PageviewRecord::TABLE;

    fn columns() -> Vec<&'static str> {
        [PageviewRecord::COLUMNS, &VIEW_STATE].concat()
    }

    fn write<'q>(&'q self, row: &mut impl StateWriter<'q>) {
        let (view, state) = self;
        view.write_row(row);
        row.double(state.duration_seconds);
        row.double(state.scroll_depth);
    }
}
