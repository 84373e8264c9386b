//! The seams that the compiler does not keep: no circle of files, no way around a layer, nothing of the tests in the program.
//!
//! A `use` is followed to the file that defines the name, through any number of `pub use`. What this cannot see is a path that
//! is written out in full where it is used, and a name that a macro makes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::{Item, UseTree, Visibility};

/// A crate of the workspace by its folder, and what it must not know.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("crates/log", &["weir_", "tokio", "actix", "sqlx"]),
    ("crates/fail-points", &["weir_", "actix", "sqlx"]),
    ("crates/domain", &["weir_", "tokio", "actix", "sqlx", "std::fs", "std::net::Tcp"]),
    ("crates/journal", &["weir_domain", "weir_store", "weir_apply", "weir_http_guard", "actix", "sqlx"]),
    ("crates/store", &["weir_journal", "weir_apply", "weir_http_guard", "actix", "Clock::system", "SystemTime"]),
    ("crates/apply", &["weir_journal", "weir_http_guard", "actix", "sqlx", "Clock::system", "SystemTime"]),
    ("crates/http-guard", &["weir_"]),
    ("crates/simulation", &["weir_testkit", "weir_http_guard", "actix", "sqlx", "std::fs", "std::net", "SystemTime"]),
    ("src/contract", &["weir_", "actix", "sqlx"]),
    ("src/http", &["weir_store", "sqlx"]),
];

/// A module, by its path from the crate's root.
type Module = Vec<String>;

/// One file of a crate.
struct SourceFile {
    path: PathBuf,
    module: Module,
    /// What it defines itself.
    defined: BTreeSet<String>,
    /// Whether its names come by way of another file: name, and the path that leads there.
    imported: Vec<Import>,
}

struct Import {
    path: Vec<String>,
    /// The name under which others find it here, when it is `pub use`.
    exported_as: Option<String>,
}

/// A crate's files by their modules.
struct Source(BTreeMap<Module, SourceFile>);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `src` of every crate, the service's own among them.
fn crates() -> Vec<PathBuf> {
    let inner = std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path().join("src"));
    let mut all: Vec<_> = inner.chain([root().join("src")]).collect();
    all.sort();
    all
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The module that a file is.
fn module_of(source: &Path, file: &Path) -> Module {
    let inner = file.strip_prefix(source).unwrap().with_extension("");
    let mut module: Module = inner.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

impl SourceFile {
    fn read(source: &Path, path: &Path) -> Self {
        let module = module_of(source, path);
        let parsed = syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (mut defined, mut imported) = (BTreeSet::new(), Vec::new());
        for item in &parsed.items {
            let name = match item {
                Item::Const(item) => Some(&item.ident),
                Item::Enum(item) => Some(&item.ident),
                Item::Fn(item) => Some(&item.sig.ident),
                Item::Static(item) => Some(&item.ident),
                Item::Struct(item) => Some(&item.ident),
                Item::Trait(item) => Some(&item.ident),
                Item::Type(item) => Some(&item.ident),
                Item::Macro(item) => item.ident.as_ref(),
                Item::Use(item) => {
                    let is_exported = !matches!(item.vis, Visibility::Inherited);
                    walk(&item.tree, Vec::new(), is_exported, &mut imported);
                    None
                }
                _ => None,
            };
            defined.extend(name.map(ToString::to_string));
        }
        Self { path: path.to_owned(), module, defined, imported }
    }
}

fn walk(tree: &UseTree, mut path: Vec<String>, is_exported: bool, found: &mut Vec<Import>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            walk(&part.tree, path, is_exported, found);
        }
        UseTree::Group(group) => group.items.iter().for_each(|item| walk(item, path.clone(), is_exported, found)),
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            if name != "self" {
                path.push(name.clone());
            }
            found.push(Import { path, exported_as: is_exported.then_some(name) });
        }
        UseTree::Rename(rename) => {
            path.push(rename.ident.to_string());
            found.push(Import { path, exported_as: is_exported.then(|| rename.rename.to_string()) });
        }
        UseTree::Glob(_) => found.push(Import { path, exported_as: None }),
    }
}

impl Source {
    fn read(source: &Path) -> Self {
        let files = files_below(source).into_iter().map(|path| SourceFile::read(source, &path));
        // A binary's main.rs has its modules in the same folder as the library, and is a root of its own.
        Self(files.filter(|file| !file.path.ends_with("src/main.rs")).map(|file| (file.module.clone(), file)).collect())
    }

    /// The module in which a path that stands in `from` defines its name; `None` for another crate's.
    fn defines(&self, from: &Module, path: &[String]) -> Option<&SourceFile> {
        let mut at = from.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
                return self.resolve(&at, rest, 0);
            }
            first if self.0.contains_key(&joined(from, first)) => return self.resolve(from, rest, 0),
            _ => return None,
        }
        self.resolve(&at, &rest[1..], 0)
    }

    fn resolve(&self, module: &Module, rest: &[String], depth: usize) -> Option<&SourceFile> {
        assert!(depth < 20, "a circle of re-exports at {module:?}");
        let file = self.0.get(module)?;
        let Some(first) = rest.first() else { return Some(file) };
        if let Some(inner) = self.resolve(&joined(module, first), &rest[1..], depth + 1) {
            return Some(inner);
        }
        if file.defined.contains(first) {
            return Some(file);
        }
        let exported = file.imported.iter().find(|import| import.exported_as.as_ref() == Some(first));
        match exported {
            Some(import) => match import.path.first().map(String::as_str) {
                Some("crate" | "self" | "super") => self.defines(module, &import.path),
                _ => self.resolve(module, &import.path, depth + 1),
            },
            None => Some(file),
        }
    }

    /// What each file takes from which others. That a parent hands on what is in its children is no dependency.
    fn arrows(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let mut arrows: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for file in self.0.values() {
            for import in file.imported.iter().filter(|import| import.exported_as.is_none()) {
                if let Some(other) = self.defines(&file.module, &import.path)
                    && other.path != file.path
                {
                    arrows.entry(&file.path).or_default().insert(&other.path);
                }
            }
        }
        arrows
    }
}

fn joined(module: &Module, part: &str) -> Module {
    module.iter().cloned().chain([part.to_owned()]).collect()
}

/// A way from a file back to itself.
fn circle<'a>(arrows: &BTreeMap<&'a Path, BTreeSet<&'a Path>>) -> Option<Vec<&'a Path>> {
    fn visit<'a>(
        at: &'a Path,
        arrows: &BTreeMap<&'a Path, BTreeSet<&'a Path>>,
        way: &mut Vec<&'a Path>,
        done: &mut BTreeSet<&'a Path>,
    ) -> Option<Vec<&'a Path>> {
        if let Some(begin) = way.iter().position(|seen| *seen == at) {
            return Some(way[begin..].to_vec());
        }
        if done.contains(at) {
            return None;
        }
        way.push(at);
        let found = arrows.get(at).into_iter().flatten().find_map(|next| visit(next, arrows, way, done));
        way.pop();
        done.insert(at);
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|file| visit(file, arrows, &mut Vec::new(), &mut done))
}

#[test]
fn source_files_form_no_circle() {
    for source in crates() {
        let source = Source::read(&source);
        if let Some(way) = circle(&source.arrows()) {
            let way: Vec<_> = way.into_iter().map(shown).collect();
            panic!("these files use each other: {}", way.join(" -> "));
        }
    }
}

#[test]
fn circle_check_finds_a_circle() {
    let [a, b, c] = ["a", "b", "c"].map(Path::new);
    let arrows = |pairs: &[(&'static Path, &'static Path)]| {
        let mut arrows: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for (from, to) in pairs {
            arrows.entry(from).or_default().insert(to);
        }
        arrows
    };
    assert_eq!(circle(&arrows(&[(a, b), (a, c), (b, c)])), None);
    assert_eq!(circle(&arrows(&[(a, b), (b, c), (c, b)])), Some(vec![b, c]));
}

#[test]
fn layers_know_only_what_lies_below_them() {
    for (folder, forbidden) in FORBIDDEN {
        let folder = root().join(folder);
        let source = if folder.join("src").is_dir() { folder.join("src") } else { folder };
        for path in files_below(&source) {
            let text = std::fs::read_to_string(&path).unwrap();
            // What tests of a crate use is no matter of its layer.
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (number, line) in code.lines().enumerate() {
                let is_comment = line.trim_start().starts_with("//");
                for word in *forbidden {
                    assert!(is_comment || !line.contains(word), "{}:{} knows {word}", shown(&path), number + 1);
                }
            }
        }
    }
}

#[test]
fn service_hands_on_no_other_crate() {
    for path in files_below(&root().join("src")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let handed_on = text.lines().map(str::trim_start).find(|line| line.starts_with("pub use weir_"));
        assert_eq!(handed_on, None, "{} hands on a crate that its users can name themselves", shown(&path));
    }
}

#[test]
fn program_includes_no_file_of_the_tests() {
    for source in crates() {
        for path in files_below(&source) {
            let text = std::fs::read_to_string(&path).unwrap();
            for line in text.lines().filter(|line| line.contains("include_") || line.contains("#[path")) {
                assert!(!line.contains("tests/"), "{} includes a file of the tests: {line}", shown(&path));
            }
        }
    }
}
