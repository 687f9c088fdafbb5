//! `millrace migrate`: brings the schema up to this executable.

use jobs::db::SchemaState;
use serde_json::json;

use crate::command::Output;
use crate::settings;
use crate::table::print_said;

/// One for the migrations and one that holds their lock.
const CONNECTIONS: u32 = 2;

pub(crate) async fn run(output: Output) -> anyhow::Result<()> {
    let db = settings::connect(CONNECTIONS).await?;
    let before = jobs::db::schema_state(&db).await?;
    jobs::db::migrate(&db).await?;
    let applied = match before {
        SchemaState::Behind(missing) => missing,
        SchemaState::Current | SchemaState::Expanded(_) | SchemaState::Ahead(_) => 0,
    };
    let said = match applied {
        0 => "the schema is current".to_owned(),
        some => format!("applied {some} migration(s)"),
    };
    print_said(output, &json!({ "applied": applied }), &said)?;
    Ok(())
}
