//! `millrace migrate`: brings the schema up to this executable.

use jobs::db::SchemaState;

use crate::settings;

/// One for the migrations and one that holds their lock.
const CONNECTIONS: u32 = 2;

pub(crate) async fn run() -> anyhow::Result<()> {
    let db = settings::connect(CONNECTIONS).await?;
    let before = jobs::db::schema_state(&db).await?;
    jobs::db::migrate(&db).await?;
    match before {
        SchemaState::Behind(missing) => println!("applied {missing} migration(s)"),
        SchemaState::Current | SchemaState::Ahead(_) => println!("the schema is current"),
    }
    Ok(())
}
