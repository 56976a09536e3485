//! Packages of any architecture and suite from the distribution's archive, beside the machine's own apt.
//!
//! apt does the work with a private state: its own lists, cache and an empty status, so nothing of the machine's
//! own is read or changed. apt checks the archive's signature with the machine's keyring, and each package with the
//! checksum in the signed lists. The archive's address is the one that this machine uses already, or the user's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::host;

/// Package lists younger than this are not asked for again.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distro {
    Debian,
    Ubuntu,
}

impl Distro {
    /// The suite whose riscv64 packages we take: Ubuntu's later ones are for the RVA23 profile only.
    pub fn guest_suite(self) -> &'static str {
        match self {
            Self::Debian => "trixie",
            Self::Ubuntu => "noble",
        }
    }

    /// The suite with the newest of everything, where it is always called the same.
    pub fn newest_suite(self) -> Option<&'static str> {
        match self {
            Self::Debian => Some("sid"),
            Self::Ubuntu => None,
        }
    }

    fn components(self) -> &'static str {
        match self {
            Self::Debian => "main",
            Self::Ubuntu => "main universe",
        }
    }

    fn keyring(self) -> &'static str {
        match self {
            Self::Debian => "/usr/share/keyrings/debian-archive-keyring.gpg",
            Self::Ubuntu => "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        }
    }

    fn keyring_package(self) -> &'static str {
        match self {
            Self::Debian => "debian-archive-keyring",
            Self::Ubuntu => "ubuntu-keyring",
        }
    }
}

/// The distribution's archive.
#[derive(Clone, Debug)]
pub struct Archive {
    pub distro: Distro,
    pub mirror: String,
    /// The suite that this machine runs.
    pub codename: String,
}

impl Archive {
    /// The one in the machine's configuration, at the address `mirror` if that is given.
    pub fn find(mirror: Option<&str>) -> Result<Self> {
        let without = "give --kernel and --initrd to boot files of your own";
        if host::find("apt-get").is_none() {
            bail!("packages are fetched with apt-get, which this machine does not have; {without}");
        }
        let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let field = |name: &str| {
            let line = release.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_owned()
        };
        let families = format!("{} {}", field("ID"), field("ID_LIKE"));
        let distro = match families.split_whitespace().find(|id| ["debian", "ubuntu"].contains(id)) {
            Some("debian") => Distro::Debian,
            Some(_) => Distro::Ubuntu,
            None => bail!("packages come from Debian or Ubuntu, and this machine is '{}'; {without}", field("ID")),
        };
        let codename = field("VERSION_CODENAME");
        let mirror = match mirror {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => mirror_of(&configured_sources(), &codename)
                .context("no archive found in /etc/apt/sources.list and /etc/apt/sources.list.d; give --mirror URL")?,
        };
        Ok(Self { distro, mirror, codename })
    }

    /// Ubuntu keeps the lesser architectures on another server, of the same layout.
    fn mirror_for(&self, arch: &str) -> String {
        let main = ["amd64", "i386"].contains(&arch);
        if self.distro == Distro::Debian || main || !self.mirror.ends_with("/ubuntu") {
            return self.mirror.clone();
        }
        let scheme = self.mirror.split("://").next().unwrap_or("http");
        match self.mirror.contains("ubuntu.com/") {
            true => format!("{scheme}://ports.ubuntu.com/ubuntu-ports"),
            false => format!("{}-ports", self.mirror),
        }
    }
}

/// One archive line of apt's configuration.
#[derive(Debug, PartialEq)]
struct Source {
    uri: String,
    suites: Vec<String>,
}

fn configured_sources() -> Vec<Source> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        let mut more: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        more.sort();
        files.extend(more);
    }
    let mut sources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(one_line_source)),
            Some("sources") => sources.extend(text.replace("\r\n", "\n").split("\n\n").flat_map(deb822_sources)),
            _ => {}
        }
    }
    sources
}

/// `deb [options] URI SUITE COMPONENT...`
fn one_line_source(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    Some(Source { uri: uri.trim_end_matches('/').to_owned(), suites: vec![suite.to_owned()] })
}

/// A paragraph of `Field: value` lines with continuation lines; several URIs and suites multiply.
fn deb822_sources(paragraph: &str) -> Vec<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in paragraph.lines().filter(|l| !l.starts_with('#')) {
        match (line.starts_with([' ', '\t']), fields.last_mut()) {
            (true, Some((_, value))) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            _ => {
                if let Some((name, value)) = line.split_once(':') {
                    fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                }
            }
        }
    }
    let words = |name: &str| -> Vec<String> {
        let field = fields.iter().find(|(n, _)| n == name);
        field.map(|(_, v)| v.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
    };
    if words("enabled") == ["no"] || !words("types").contains(&"deb".to_owned()) {
        return Vec::new();
    }
    let source = |uri: &String| Source { uri: uri.trim_end_matches('/').to_owned(), suites: words("suites") };
    words("uris").iter().map(source).collect()
}

/// The archive of the release itself: not its security updates, not a third party's.
fn mirror_of(sources: &[Source], codename: &str) -> Option<String> {
    let names = [codename, "stable", "testing", "unstable", "sid"];
    let of_release = |s: &&Source| s.suites.iter().any(|suite| names.contains(&suite.as_str()));
    sources.iter().find(of_release).map(|s| s.uri.clone())
}

/// A package as apt chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub arch: String,
}

impl Package {
    fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.arch)
    }
}

/// apt for one suite and architecture.
pub struct Apt {
    dir: PathBuf,
    arch: String,
    suite: String,
    /// The packages' index could not be renewed; the older one is used.
    pub stale: bool,
}

impl Apt {
    /// Makes the private state under `cache` and brings its package lists up to date.
    pub fn open(cache: &Path, archive: &Archive, arch: &str, suite: &str) -> Result<Self> {
        let mirror = archive.mirror_for(arch);
        let name = format!("{suite}-{arch}-{}", &host::fingerprint([mirror.as_str()])[..8]);
        let dir = cache.join("apt").join(name);
        for sub in ["lists/partial", "cache/archives/partial"] {
            let dir = dir.join(sub);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        fs::write(dir.join("status"), "")?;
        let keyring = archive.distro.keyring();
        if !Path::new(keyring).is_file() {
            bail!("{keyring} is missing; run: apt-get install -y {}", archive.distro.keyring_package());
        }
        let components = archive.distro.components();
        let source = format!("deb [arch={arch} signed-by={keyring}] {mirror} {suite} {components}\n");
        fs::write(dir.join("sources.list"), source)?;
        let mut apt = Self { dir, arch: arch.to_owned(), suite: suite.to_owned(), stale: false };
        apt.update(&mirror, archive.distro)?;
        Ok(apt)
    }

    fn update(&mut self, mirror: &str, distro: Distro) -> Result<()> {
        let stamp = self.dir.join("updated");
        let age = fs::metadata(&stamp).and_then(|m| m.modified()).ok().map(|t| SystemTime::now().duration_since(t));
        if matches!(age, Some(Ok(age)) if age < FRESH) {
            return Ok(());
        }
        host::say(format_args!("package lists of {} for {} from {mirror}", self.suite, self.arch));
        // A list that cannot be had is only a warning to apt, unless told otherwise.
        let updated = host::run(self.apt_get().args(["update", "-q", "--error-on=any"]));
        match updated {
            Ok(_) => fs::write(&stamp, "").context("cannot write to the cache"),
            Err(error) if age.is_some() => {
                host::say(format_args!(
                    "the package lists could not be renewed, going on with the older ones: {error}"
                ));
                self.stale = true;
                Ok(())
            }
            Err(error) => Err(error.context(format!(
                "cannot get the package lists of {} from {mirror}; is the network up, and package {} recent?",
                self.suite,
                distro.keyring_package()
            ))),
        }
    }

    fn options(&self, command: &mut Command) {
        let path = |sub: &str| self.dir.join(sub).display().to_string();
        let options = [
            format!("APT::Architecture={}", self.arch),
            format!("APT::Architectures={}", self.arch),
            format!("Dir::State::Lists={}", path("lists")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::State::extended_states={}", path("extended_states")),
            format!("Dir::Cache={}", path("cache")),
            format!("Dir::Etc::SourceList={}", path("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            "Debug::NoLocking=1".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // The unprivileged user that apt downloads as cannot reach a folder in someone's home.
            "APT::Sandbox::User=".to_owned(),
        ];
        for option in options {
            command.arg("-o").arg(option);
        }
    }

    fn apt_get(&self) -> Command {
        let mut command = host::command("apt-get");
        self.options(&mut command);
        command
    }

    /// `packages` and all they depend on, in the versions of the suite, sorted.
    pub fn closure(&self, packages: &[&str]) -> Result<Vec<Package>> {
        let text = host::run(self.apt_get().args(["install", "-s", "-q", "--no-install-recommends"]).args(packages))
            .with_context(|| format!("apt cannot put together {} of {}", packages.join(", "), self.suite))?;
        let mut closure: Vec<_> = text.lines().filter_map(simulated).collect();
        closure.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(closure)
    }

    /// Downloads what is not in the cache, and checks all. The files, in the order of `packages`.
    pub fn fetch(&self, packages: &[Package]) -> Result<Vec<PathBuf>> {
        let archives = self.dir.join("cache/archives");
        let files: Vec<_> = packages.iter().map(|p| archives.join(p.file_name())).collect();
        let missing = files.iter().filter(|f| !f.is_file()).count();
        if missing > 0 {
            host::say(format_args!("downloading {missing} packages of {} for {}", self.suite, self.arch));
        }
        let words = packages.iter().map(|p| format!("{}={}", p.name, p.version));
        let mut command = self.apt_get();
        command.current_dir(&archives).arg("download").args(words);
        if rustix::termios::isatty(std::io::stderr()) {
            // apt's own progress line.
            let status = command.stdout(std::io::stderr()).status().context("cannot run apt-get")?;
            if !status.success() {
                bail!("apt-get download failed ({status})");
            }
        } else {
            host::run(command.arg("-q"))?;
        }
        if let Some(file) = files.iter().find(|f| !f.is_file()) {
            bail!("apt-get downloaded no {}", file.display());
        }
        Ok(files)
    }
}

/// `Inst NAME (VERSION RELEASE [ARCH])`
fn simulated(line: &str) -> Option<Package> {
    let rest = line.strip_prefix("Inst ")?;
    let (name, rest) = rest.split_once(" (")?;
    let version = rest.split_whitespace().next()?;
    // Behind the parentheses may follow what is broken meanwhile, in brackets too.
    let arch = rest.split_once('[')?.1.split_once(']')?.0;
    Some(Package { name: name.split(':').next()?.to_owned(), version: version.to_owned(), arch: arch.to_owned() })
}

/// Unpacks packages over each other into `tree`, which gets the merged layout of `/usr` first.
pub fn unpack(files: &[PathBuf], tree: &Path) -> Result<()> {
    host::require(&[host::DPKG_DEB, host::TAR])?;
    for (link, dir) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        fs::create_dir_all(tree.join(dir))?;
        if tree.join(link).symlink_metadata().is_err() {
            std::os::unix::fs::symlink(dir, tree.join(link))?;
        }
    }
    for file in files {
        let mut deb = host::command("dpkg-deb");
        deb.arg("--fsys-tarfile").arg(file);
        let mut tar = host::command("tar");
        tar.args(["-x", "-p", "--no-same-owner", "--keep-directory-symlink", "-C"]).arg(tree);
        host::pipe(deb, tar).with_context(|| format!("cannot unpack {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_archive_is_chosen() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://one.example/debian/\nSuites: bookworm\n bookworm-updates\n\
                    Components: main\nSigned-By: /k.gpg\n\nTypes: deb\nURIs: http://one.example/debian-security\n\
                    Suites: bookworm-security\n";
        let sources: Vec<_> = text.split("\n\n").flat_map(deb822_sources).collect();
        assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(mirror_of(&sources, "bookworm").unwrap(), "http://one.example/debian");
        assert_eq!(mirror_of(&sources, "trixie"), None);
    }

    #[test]
    fn one_line_sources_have_options() {
        let uri = |line| one_line_source(line).map(|s| s.uri);
        assert_eq!(uri("deb [arch=amd64 signed-by=/k] http://a/debian bookworm main").unwrap(), "http://a/debian");
        assert_eq!(uri("deb\thttp://b/ubuntu/ noble universe").unwrap(), "http://b/ubuntu");
        assert_eq!(uri("# deb http://c noble main"), None);
        assert_eq!(uri("deb-src http://c noble main"), None);
    }

    #[test]
    fn disabled_sources_are_skipped() {
        assert_eq!(deb822_sources("Enabled: no\nTypes: deb\nURIs: http://a\nSuites: x"), []);
        assert_eq!(deb822_sources("Types: deb-src\nURIs: http://a\nSuites: x"), []);
    }

    #[test]
    fn ports_are_elsewhere_on_ubuntu() {
        let archive = |distro, mirror: &str| Archive { distro, mirror: mirror.into(), codename: String::new() };
        let ubuntu = archive(Distro::Ubuntu, "http://archive.ubuntu.com/ubuntu");
        assert_eq!(ubuntu.mirror_for("riscv64"), "http://ports.ubuntu.com/ubuntu-ports");
        assert_eq!(ubuntu.mirror_for("amd64"), "http://archive.ubuntu.com/ubuntu");
        assert_eq!(
            archive(Distro::Ubuntu, "http://m.example/ubuntu").mirror_for("riscv64"),
            "http://m.example/ubuntu-ports"
        );
        assert_eq!(archive(Distro::Debian, "http://m.example/debian").mirror_for("riscv64"), "http://m.example/debian");
    }

    #[test]
    fn simulations_are_read() {
        let package = simulated("Inst libc6 (2:2.41-12 Debian:13.1/stable [riscv64])").unwrap();
        assert_eq!(package.file_name(), "libc6_2%3a2.41-12_riscv64.deb");
        let package = simulated(
            "Inst tzdata (2025b-4 Debian:13.1/stable, Debian-Security:13/s [all]) [libc6:riscv64 on x:riscv64] []",
        )
        .unwrap();
        assert_eq!((package.name.as_str(), package.arch.as_str()), ("tzdata", "all"));
        assert_eq!(simulated("Conf libc6 (2.41-12 Debian:13.1/stable [riscv64])"), None);
    }
}
