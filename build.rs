//! Makes what the service embeds of other packages: user-agent expressions, and the files of the page about the interface.
//!
//! `ua-parser` publishes its expressions (`uap-core/regexes.yaml`) beside its code but exports no path to them, so this
//! script asks cargo where the package lies. Nobody copies the file by hand, and it always has the version of the code
//! that reads it.
//!
//! It asks about a throw-away package in `OUT_DIR` that depends on `ua-parser` alone, under a copy of the real lock
//! file. Asking about Weir itself would make cargo look for every development dependency too, and a machine that has
//! only ever run `cargo build` has never downloaded those: offline that fails, online it downloads dozens of crates.
//!
//! The YAML is parsed here, so that the service links no YAML parser, and only what Weir reads is kept: the device
//! expressions (two thirds of the file) and the browsers' version replacements go. 210 kB of YAML become 52 kB of JSON
//! and 11 kB embedded.
//!
//! Swagger UI comes as a zip archive in a package that has nothing else. Two of its files are unpacked here: `utoipa-swagger-ui`
//! would embed all of it, with a second build of `regex`.

use std::borrow::Cow;
use std::env;
use std::error::Error;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};
use zip::ZipArchive;

const PACKAGE: &str = "ua-parser";
const EXPRESSIONS: &str = "uap-core/regexes.yaml";
const OUTPUT: &str = "user_agent_regexes.json.gz";
/// The files of Swagger UI that its page loads.
const SWAGGER_UI: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

/// The parts of `regexes.yaml` that the service reads, in the shape that `ua_parser::Regexes` expects.
#[derive(Deserialize, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names are the file's")]
struct Expressions {
    user_agent_parsers: Vec<BrowserExpression>,
    os_parsers: Vec<OsExpression>,
    /// Left empty: Weir tells three device classes apart, not models. The field has to be there.
    #[serde(skip_deserializing)]
    device_parsers: [(); 0],
}

#[derive(Deserialize, Serialize)]
struct BrowserExpression {
    regex: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    family_replacement: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct OsExpression {
    regex: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os_replacement: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os_v1_replacement: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os_v2_replacement: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os_v3_replacement: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    os_v4_replacement: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

fn main() -> ExitCode {
    match embed_expressions().and_then(|()| embed_swagger_ui()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Cargo reads one line per instruction.
            println!("cargo::error={}", error.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn embed_expressions() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let manifest_dir = path_from_env("CARGO_MANIFEST_DIR")?;
    let out_dir = path_from_env("OUT_DIR")?;

    // Another version of the package may bring other expressions, and the lock file is what says so.
    let lock_file = manifest_dir
        .ancestors()
        .map(|dir| dir.join("Cargo.lock"))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("no Cargo.lock in {} or above it", manifest_dir.display()))?;
    println!("cargo::rerun-if-changed={}", lock_file.display());

    let yaml_file = package_dir(&manifest_dir, &out_dir, &lock_file)?.join(EXPRESSIONS);
    println!("cargo::rerun-if-changed={}", yaml_file.display());
    let yaml = fs::read_to_string(&yaml_file)
        .map_err(|error| format!("cannot read the user-agent expressions {}: {error}", yaml_file.display()))?;
    let expressions: Expressions = serde_saphyr::from_str(&yaml)
        .map_err(|error| format!("{} does not have the expected shape: {error}", yaml_file.display()))?;
    if expressions.user_agent_parsers.is_empty() || expressions.os_parsers.is_empty() {
        return Err(format!("{} has no expressions for browsers or operating systems", yaml_file.display()).into());
    }

    let json = serde_json::to_vec(&expressions)
        .map_err(|error| format!("cannot write the user-agent expressions as JSON: {error}"))?;
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let compressed = compressed
        .write_all(&json)
        .and_then(|()| compressed.finish())
        .map_err(|error| format!("cannot compress the user-agent expressions: {error}"))?;
    write(&out_dir.join(OUTPUT), &compressed)
}

/// Where cargo keeps the sources of `ua-parser`.
fn package_dir(manifest_dir: &Path, out_dir: &Path, lock_file: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let probe = out_dir.join("probe");
    fs::create_dir_all(&probe).map_err(|error| format!("cannot create {}: {error}", probe.display()))?;
    // `[workspace]` keeps cargo from looking for one above OUT_DIR, where it would find Weir's manifest.
    let manifest = format!(
        "[workspace]\n[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"lib.rs\"\n[dependencies]\n{PACKAGE} = \"*\"\n"
    );
    let manifest_file = probe.join("Cargo.toml");
    write(&manifest_file, manifest.as_bytes())?;
    write(&probe.join("lib.rs"), b"")?;
    // Cargo keeps the versions that a lock file names and drops what nobody needs; no --locked, because here it must.
    fs::copy(lock_file, probe.join("Cargo.lock"))
        .map_err(|error| format!("cannot copy {}: {error}", lock_file.display()))?;

    let cargo = path_from_env("CARGO")?;
    let output = Command::new(&cargo)
        .args(["metadata", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(&manifest_file)
        // Packages for other platforms are not downloaded either.
        .arg("--filter-platform")
        .arg(path_from_env("TARGET")?)
        // Cargo reads its configuration (a vendored registry, say) from the directory that it runs in and above.
        .current_dir(manifest_dir)
        .output()
        .map_err(|error| format!("cannot run {} to find {PACKAGE}: {error}", cargo.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo metadata cannot find {PACKAGE}: {}", said.trim()).into());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata answered something unexpected: {error}"))?;

    let mut found = metadata.packages.into_iter().filter(|package| package.name == PACKAGE);
    let package = found.next().ok_or_else(|| format!("{PACKAGE} is not among Weir's dependencies"))?;
    if found.next().is_some() {
        return Err(format!("more than one version of {PACKAGE} is among Weir's dependencies").into());
    }
    package
        .manifest_path
        .parent()
        .map(Path::to_owned)
        .ok_or_else(|| format!("{} is not in a directory", package.manifest_path.display()).into())
}

/// Unpacks Swagger UI's files, as they are.
fn embed_swagger_ui() -> Result<(), Box<dyn Error>> {
    let out_dir = path_from_env("OUT_DIR")?;
    let mut archive = ZipArchive::new(Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED))?;
    for name in SWAGGER_UI {
        let paths = archive.file_names().filter_map(Result::ok);
        let path = paths.map(Cow::into_owned).find(|path| path.ends_with(&format!("/dist/{name}")));
        let path = path.ok_or_else(|| format!("no {name} is in the archive of Swagger UI"))?;
        let mut bytes = Vec::new();
        archive.by_name(&path)?.read_to_end(&mut bytes)?;
        write(&out_dir.join(name), &bytes)?;
    }
    Ok(())
}

fn path_from_env(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let value = env::var_os(name).ok_or_else(|| format!("{name} is not set: run this through cargo"))?;
    Ok(value.into())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
