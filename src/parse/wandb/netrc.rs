//! Passwords in a `netrc` file, where `wandb login` puts its key.
//!
//! Source of the format: Python's `netrc` module, which W&B reads it with.

/// Returns the password of a host.
pub fn password(text: &str, host: &str) -> Option<String> {
    let mut words = words(text).into_iter();
    let mut is_it = false;
    while let Some(word) = words.next() {
        match word.as_str() {
            "machine" => is_it = words.next().as_deref() == Some(host),
            "default" => is_it = false,
            "password" => {
                let password = words.next()?;
                if is_it {
                    return Some(password);
                }
            }
            "login" | "account" => {
                words.next();
            }
            _ => {}
        }
    }
    None
}

/// Splits into words: quoted ones stay whole, comments and macros go.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut is_macro = false;
    for line in text.lines() {
        // A macro ends at an empty line.
        is_macro = is_macro && !line.trim().is_empty() || line.trim_start().starts_with("macdef ");
        let line = line.split(" #").next().unwrap_or_default();
        if is_macro || line.trim_start().starts_with('#') {
            continue;
        }
        let plain = line.split_whitespace().map(|word| {
            let inner = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
            inner.unwrap_or(word).to_owned()
        });
        words.extend(plain);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_that_of_the_host() {
        let text = "# a comment with password x\nmachine github.com login me password abc\n\
                    macdef init\n machine api.wandb.ai password no\n\nmachine api.wandb.ai\n  \
                    login user\n  password \"0123456789\" # mine\ndefault login x password y\n";
        assert_eq!(password(text, "api.wandb.ai").as_deref(), Some("0123456789"));
        assert_eq!(password(text, "github.com").as_deref(), Some("abc"));
        assert_eq!(password(text, "other"), None);
        assert_eq!(password("machine x password", "x"), None);
        assert_eq!(password("machine", "x"), None);
    }
}
