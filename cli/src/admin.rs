//! The administrator: made at the first start, let in again by `millrace admin reset-password`.

use std::fs;

use api::Bootstrapped;
use jobs::config::Reader;
use jobs::db::PgPool;
use rand::RngExt;
use rules::access::Email;
use serde_json::json;

use crate::audit;
use crate::command::Admin;
use crate::home::{self, Home};
use crate::settings::{self, Settings};
use crate::table::{print_said, say};

/// The address of the first administrator unless `ADMIN_EMAIL` says otherwise.
const EMAIL: &str = "admin@localhost";
/// The variable that says otherwise.
const EMAIL_VARIABLE: &str = "ADMIN_EMAIL";

/// Characters of a password: none that look alike, so that it can be read out.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Its length in characters: about 139 bits.
const LENGTH: usize = 24;

/// Reads the address of the first administrator.
pub(crate) fn read_email(reader: &mut Reader<'_>) -> String {
    let text = reader.text(EMAIL_VARIABLE).unwrap_or_else(|| EMAIL.into());
    if let Err(fault) = text.parse::<Email>() {
        reader.fault(format!("`{EMAIL_VARIABLE}` is `{text}`: {fault}"));
    }
    text
}

/// Makes the first administrator unless there is one, prints the password once and keeps it.
pub(crate) async fn first(home: &Home, db: &PgPool, email: &str) -> jobs::Result<()> {
    let kept = home.password_file();
    let draft = home.password_draft();
    // Written before it is set: a password that is set and then lost with the process would lock
    // everybody out. One that is there already was left by such a process.
    let left = fs::read_to_string(&draft).ok().filter(|_| !kept.exists());
    let password = left.as_deref().map_or_else(generate, |text| text.trim().to_owned());
    home::write_secret(&draft, &format!("{password}\n"))?;
    let made = api::bootstrap_admin(db, email, password.clone().into()).await?;
    if made != Bootstrapped::Made && left.is_none() {
        return fs::remove_file(&draft).map_err(jobs::Error::internal);
    }
    fs::rename(&draft, &kept).map_err(jobs::Error::internal)?;
    say(format!(
        "administrator `{email}`, password `{password}`\n  \
         shown only now; kept in `{}` for its owner alone",
        kept.display()
    ));
    Ok(())
}

/// `millrace admin …`.
pub(crate) async fn run(command: Admin) -> anyhow::Result<()> {
    let Admin::ResetPassword { email, output } = command;
    let (first, meant) =
        Settings::default().read(|reader| (read_email(reader), reader.text(EMAIL_VARIABLE)))?;
    // Whoever says whose installation this is means that administrator, and no other there may be.
    let email = email.or(meant);
    let db = settings::operator().await?;
    let password = generate();
    let whose =
        api::reset_admin_password(&db, email.as_deref(), password.clone().into(), &audit::operator()).await?;
    let home = Home::find()?;
    let mut said = format!(
        "administrator `{whose}`, password `{password}`\n  shown only now; earlier logins have ended"
    );
    // Where the first start kept the old one, the new one takes its place.
    let kept = (whose == first).then(|| home.password_file()).filter(|file| file.exists());
    if let Some(file) = &kept {
        home::write_secret(file, &format!("{password}\n"))?;
        said.push_str(&format!("\n  kept in `{}` for its owner alone", file.display()));
    }
    print_said(output, &json!({ "email": whose, "password": password, "kept_in": kept }), &said)?;
    Ok(())
}

/// A new password.
fn generate() -> String {
    let mut random = rand::rng();
    (0..LENGTH)
        .filter_map(|_| ALPHABET.get(random.random_range(0..ALPHABET.len())))
        .map(|byte| char::from(*byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, other) = (generate(), generate());
        assert_eq!(one.len(), LENGTH);
        assert_ne!(one, other);
    }
}
