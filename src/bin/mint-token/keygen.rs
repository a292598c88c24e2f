//! `mint-token keygen`

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use tollgate::lab::issuer::algorithm::{Algorithm, Family};
use tollgate::lab::issuer::jwk;
use tollgate::lab::issuer::key::Key;
use tollgate::lab::issuer::keyring::Signer;

use crate::{Exit, io};

/// For its owner alone.
const PRIVATE: u32 = 0o600;
/// For everybody, as far as the process lets it.
const PUBLIC: u32 = 0o666;

/// Make a key: the private one for its owner alone, and the public one beside it as JWKS and PEM
#[derive(Args, Debug)]
#[command(after_help = "For HS256, HS384 and HS512 it is a secret, in a file named secret.")]
pub(crate) struct Keygen {
    /// Algorithm that the key is for
    #[arg(long, default_value = "ES256")]
    alg: Algorithm,
    /// Folder to write to; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Bits of an RSA key: 2048, 3072 or 4096
    #[arg(long, default_value_t = 2048, value_name = "N")]
    bits: u32,
    /// Name of the key [default: its thumbprint (RFC 7638)]
    #[arg(long, allow_hyphen_values = true)]
    kid: Option<String>,
    /// Replace what is there
    #[arg(long)]
    force: bool,
}

impl Keygen {
    pub(crate) fn run(&self) -> Exit {
        match self.make() {
            Ok(text) => io::print(&text),
            Err(exit) => exit,
        }
    }

    fn make(&self) -> Result<String, Exit> {
        let key = Key::generate(self.alg, self.bits).map_err(Exit::problem)?;
        let mut signer = Signer::new(key, Some(self.alg)).map_err(Exit::problem)?;
        if let Some(kid) = &self.kid {
            signer.kid = Some(kid.clone());
        }
        let private = signer.key.private_text().map_err(Exit::problem)?;
        let mut files = vec![(self.private_name(), private, PRIVATE)];
        if let (Some(public), Some(pem)) = (signer.public(), signer.key.public_pem()) {
            let set = serde_json::to_string_pretty(&jwk::set([public])).map_err(Exit::problem)?;
            files.push(("jwks.json", set + "\n", PUBLIC));
            files.push(("public.pem", pem, PUBLIC));
        }
        self.refuse_to_overwrite(&files)?;
        fs::create_dir_all(&self.out).map_err(|error| cannot_write(&self.out, &error))?;
        let mut said = String::new();
        for (name, text, mode) in files {
            let path = self.out.join(name);
            self.write(&path, text.as_bytes(), mode).map_err(|error| cannot_write(&path, &error))?;
            said.push_str(&format!("{}\n", path.display()));
        }
        Ok(said)
    }

    fn private_name(&self) -> &'static str {
        match self.alg.family() {
            Family::Hmac => "secret",
            _ => "key.pem",
        }
    }

    /// Before anything is written: half a pair of keys would be worse than none.
    fn refuse_to_overwrite(&self, files: &[(&str, String, u32)]) -> Result<(), Exit> {
        let there = files.iter().map(|(name, ..)| self.out.join(name)).find(|path| path.exists() && !self.force);
        match there {
            Some(path) => {
                Err(Exit::unavailable(format_args!("{} is there already; --force replaces it", path.display())))
            }
            None => Ok(()),
        }
    }

    /// Writes a file that is never seen half, nor with more rights than it has in the end.
    fn write(&self, path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
        let mut open = OpenOptions::new();
        open.write(true).create_new(true).mode(mode);
        if !self.force {
            return open.open(path)?.write_all(content);
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let fresh = path.with_file_name(name);
        let written = open.open(&fresh).and_then(|mut file| file.write_all(content));
        written.and_then(|()| fs::rename(&fresh, path)).inspect_err(|_| drop(fs::remove_file(&fresh)))
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Exit {
    Exit::unavailable(format_args!("cannot write {}: {error}", path.display()))
}
