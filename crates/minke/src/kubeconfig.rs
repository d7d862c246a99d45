//! The admin kubeconfig: an instance's entries in a file that may hold other clusters too.
//!
//! Invariants: what others wrote stays, also in our own entries (a namespace, a proxy); a file that is no kubeconfig is
//! refused, never overwritten; it is replaced whole, keeps its owner, and only its owner reads it. Absent: removal: the
//! entries stay as long as the instance's data do.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::instance::make_private_dir;

/// The lists of a kubeconfig, and what an entry calls its content.
const LISTS: &[(&str, &str)] = &[("clusters", "cluster"), ("users", "user"), ("contexts", "context")];

/// How long another writer may take; a lock older than that was left by one that died.
const LOCKED_FOR: Duration = Duration::from_secs(5);

/// Refuses a file that [`write`] would refuse.
///
/// # Errors
/// If it is there and no kubeconfig.
pub fn check(path: &Path) -> Result<()> {
    read(&resolve(path)?).map(drop)
}

/// Writes the entries of `ours`, a kubeconfig with one cluster, user and context, into the file.
///
/// # Errors
/// If the file is no kubeconfig or cannot be written.
pub fn write(path: &Path, ours: &str) -> Result<()> {
    let path = resolve(path)?;
    let ours = parse(ours)?.context("an empty kubeconfig")?;
    make_private_dir(path.parent().context("a file has a directory")?)?;
    // Not even the lock's file is made for nothing: the disk may be full.
    if read(&path)?.is_some_and(|found| merge(Some(found.clone()), &ours) == found) {
        return Ok(());
    }
    let _lock = Lock::take(&path)?;
    let found = read(&path)?;
    let merged = merge(found.clone(), &ours);
    if found.as_ref() != Some(&merged) {
        replace(&path, &text(&merged)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The file behind links: it is replaced, they stay.
fn resolve(path: &Path) -> Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(path.to_owned()),
        other => other.with_context(|| format!("cannot resolve {}", path.display())),
    }
}

/// What is in the file; `None` if there is none or nothing.
fn read(path: &Path) -> Result<Option<Value>> {
    let kind = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("cannot read {}", path.display()))?,
    };
    // Of a device or a pipe nothing can be kept, and reading one may never end.
    ensure!(kind.is_file(), "{} is no regular file", path.display());
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is no kubeconfig: it is left as it is", path.display()))
}

fn parse(text: &str) -> Result<Option<Value>> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let value: Value = serde_saphyr::from_str(text)?;
    let Some(map) = value.as_object() else { bail!("not a map") };
    for (field, want) in [("apiVersion", "v1"), ("kind", "Config")] {
        let said = map.get(field).and_then(Value::as_str).unwrap_or(want);
        ensure!(said == want, "{field}: want {want:?}, found {said:?}");
    }
    for (list, inner) in LISTS {
        let entries = match map.get(*list) {
            None | Some(Value::Null) => continue,
            Some(entries) => entries.as_array().with_context(|| format!("{list}: not a list"))?,
        };
        let well = |e: &Value| e["name"].is_string() && matches!(e[*inner], Value::Object(_) | Value::Null);
        ensure!(entries.iter().all(well), "{list}: not a list of named entries with a {inner:?} each");
    }
    Ok(Some(value))
}

/// `found` with the entries of `ours` in it. The current context is ours when it is new or there is no other.
fn merge(found: Option<Value>, ours: &Value) -> Value {
    let Some(Value::Object(mut merged)) = found else { return ours.clone() };
    let mut new = false;
    for (list, inner) in LISTS {
        let entries = merged.entry(*list).or_insert(Value::Null);
        if entries.is_null() {
            *entries = Value::Array(Vec::new());
        }
        let Some(entries) = entries.as_array_mut() else { continue };
        for own in ours[*list].as_array().into_iter().flatten() {
            match entries.iter_mut().find(|entry| entry["name"] == own["name"]) {
                Some(entry) => update(entry, inner, &own[*inner]),
                None => {
                    new |= *list == "contexts";
                    entries.push(own.clone());
                }
            }
        }
    }
    let current = merged.get("current-context").and_then(Value::as_str);
    let fresh = new || current.is_none_or(str::is_empty);
    for field in ["apiVersion", "kind"] {
        if !merged.contains_key(field) {
            merged.insert(field.to_owned(), ours[field].clone());
        }
    }
    if fresh {
        merged.insert("current-context".to_owned(), ours["current-context"].clone());
    }
    Value::Object(merged)
}

/// Our fields of an entry, beside those that somebody added.
fn update(entry: &mut Value, inner: &str, own: &Value) {
    if !entry[inner].is_object() {
        entry[inner] = Value::Object(Map::new());
    }
    for (field, value) in own.as_object().into_iter().flatten() {
        entry[inner][field] = value.clone();
    }
}

/// As YAML; as JSON, which is YAML too, should a value not survive that.
fn text(value: &Value) -> Result<String> {
    let yaml = serde_saphyr::to_string(value).unwrap_or_default();
    if serde_saphyr::from_str::<Value>(&yaml).is_ok_and(|read| read == *value) {
        return Ok(yaml);
    }
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Puts a new file in the place of `path`, with the owner of the old one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut new = tempfile::Builder::new().prefix(".kubeconfig-").tempfile_in(dir)?;
    new.write_all(text.as_bytes())?;
    if let Ok(old) = fs::metadata(path) {
        std::os::unix::fs::fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
    }
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// `FILE.lock`, by which kubectl and kind too keep each other from writing at once.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self> {
        let mut name = path.file_name().context("a file has a name")?.to_owned();
        name.push(".lock");
        let lock = path.with_file_name(name);
        let until = Instant::now() + LOCKED_FOR;
        loop {
            match File::options().write(true).create_new(true).mode(0o600).open(&lock) {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("cannot make {}", lock.display()));
                }
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                Err(_) => drop(fs::remove_file(&lock)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, "cannot remove {}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn ours(server: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: minke-1\n  cluster: {{server: {server}, certificate-authority-data: QQ==}}\n\
             users:\n- name: minke-1-admin\n  user: {{client-key-data: Qg==}}\n\
             contexts:\n- name: minke-1\n  context: {{cluster: minke-1, user: minke-1-admin}}\ncurrent-context: minke-1\n"
        )
    }

    fn get(path: &Path) -> Value {
        serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("config"), dir.path().join("link"));
        fs::write(
            &file,
            "# mine\napiVersion: v1\nkind: Config\ncurrent-context: a\npreferences: {colors: true}\nclusters:\n- name: a\n  cluster: {server: https://a}\ncontexts:\n- name: a\n  context: {cluster: a, user: '0123'}\nusers: null\n",
        )
        .unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, &ours("https://127.0.0.1:1")).unwrap();
        assert!(link.is_symlink(), "the link stays");
        let found = get(&file);
        assert_eq!(found["clusters"][0]["cluster"]["server"], "https://a");
        assert_eq!(found["contexts"][0]["context"]["user"], "0123");
        assert_eq!(found["preferences"]["colors"], true);
        assert_eq!(found["clusters"][1]["cluster"]["server"], "https://127.0.0.1:1");
        assert_eq!(found["current-context"], "minke-1");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no lock and no temporary file is left");
    }

    #[test]
    fn own_settings_stay() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/config");
        write(&file, &ours("https://127.0.0.1:1")).unwrap();
        let mut edited = get(&file);
        edited["contexts"][0]["context"]["namespace"] = "mine".into();
        edited["clusters"][0]["cluster"]["proxy-url"] = "http://proxy".into();
        edited["current-context"] = "other".into();
        fs::write(&file, edited.to_string()).unwrap();
        write(&file, &ours("https://127.0.0.1:2")).unwrap();
        let found = get(&file);
        assert_eq!(found["contexts"][0]["context"]["namespace"], "mine");
        assert_eq!(found["clusters"][0]["cluster"]["proxy-url"], "http://proxy");
        assert_eq!(found["clusters"][0]["cluster"]["server"], "https://127.0.0.1:2");
        assert_eq!(found["current-context"], "other", "chosen by somebody since");
        let before = fs::metadata(&file).unwrap().ino();
        write(&file, &ours("https://127.0.0.1:2")).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().ino(), before, "nothing changed, nothing is written");
    }

    #[test]
    fn what_is_no_kubeconfig_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for text in
            ["a: [", "- a\n", "kind: Secret\n", "clusters: {}\n", "users: [{name: 1}]\n", "contexts: [a]\n"]
        {
            let file = dir.path().join("config");
            fs::write(&file, text).unwrap();
            let error = write(&file, &ours("https://x")).unwrap_err().to_string();
            assert!(error.contains("it is left as it is"), "{text}: {error}");
            assert!(check(&file).is_err());
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        let error = check(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(error.contains("no regular file"), "{error}");
    }

    #[test]
    fn any_text_survives() {
        for word in [
            "yes",
            "~",
            "0x1f",
            "1e3",
            "a: b",
            "- x",
            "a\nb",
            "",
            " x",
            "#",
            "2020-01-01",
            "'\"",
            "null",
            "é\u{7}",
        ] {
            let value = serde_json::json!({"a": word, "b": [{"name": word}]});
            assert_eq!(serde_saphyr::from_str::<Value>(&text(&value).unwrap()).unwrap(), value, "{word:?}");
        }
    }
}
