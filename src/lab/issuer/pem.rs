//! The textual form of keys (RFC 7468): one labelled block of base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A block and its label.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// What it is, such as `PRIVATE KEY`.
    pub(super) label: String,
    /// Its bytes.
    pub(super) der: Vec<u8>,
    /// Whether it is of the old form that has fields of its own: such a one is encrypted.
    pub(super) has_fields: bool,
}

/// All blocks of a text; what stands between them is passed over, and so is a block that does not end.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let Some((label, body)) = begun.split_once("-----") else { break };
        let Some((body, behind)) = body.split_once(&format!("-----END {label}-----")) else { break };
        let has_fields = body.contains(':');
        let bare: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        // One that has fields is no base64, and need not be.
        match STANDARD.decode(&bare) {
            Ok(der) => found.push(Block { label: label.to_owned(), der, has_fields }),
            Err(_) if has_fields => found.push(Block { label: label.to_owned(), der: Vec::new(), has_fields }),
            Err(_) => {}
        }
        rest = behind;
    }
    found
}

/// The text of a block: lines of 64 characters, a line break at the end.
pub(super) fn write(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let body = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(LINE));
        out.push_str(line);
        out.push('\n');
        rest = behind;
    }
    out + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_among_other_text() {
        let one = write("PRIVATE KEY", &[7; 100]);
        assert!(one.lines().all(|line| line.len() <= 64));
        let found = blocks(&format!("a comment\r\n{}\n{}", one.replace('\n', "\r\n"), write("CERTIFICATE", b"x")));
        let labels: Vec<&str> = found.iter().map(|block| block.label.as_str()).collect();
        assert_eq!((labels, &found[0].der), (vec!["PRIVATE KEY", "CERTIFICATE"], &vec![7; 100]));
    }

    #[test]
    fn what_is_no_block_is_passed_over() {
        for text in ["", "-----BEGIN A", "-----BEGIN A-----\nAAAA\n", "-----BEGIN A-----\n*\n-----END A-----"] {
            assert_eq!(blocks(text), [], "{text}");
        }
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        assert!(blocks(old)[0].has_fields);
    }
}
