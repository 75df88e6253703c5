//! How far a claim without a proof is believed (contract C06, X05, X08, X13).

/// `AUTH_MODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Everybody acts for the DID that they name.
    Open,
    /// A claim counts for presence only, and only until that DID has shown a proof.
    Mixed,
    /// Nobody acts for a DID without a proof.
    Verified,
}

/// What a socket that names a person without a proof may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Act for that person in everything.
    Believed,
    /// Act for that person's presence only.
    Present,
    /// Act for nobody.
    Nobody,
}

impl AuthMode {
    /// The mode with this name. An unknown name is a mistake, and must not open the service.
    pub fn named(text: &str) -> Self {
        match text {
            "open" => Self::Open,
            "mixed" => Self::Mixed,
            _ => Self::Verified,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Mixed => "mixed",
            Self::Verified => "verified",
        }
    }

    /// What it means, as a sentence for the operator.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Open => {
                "anybody may act as anybody: sockets and signaling believe the DID they are given, without a proof"
            }
            Self::Mixed => {
                "a DID without a proof is believed for presence only, and not at all once its owner has shown a proof; \
                 voice and signaling under a DID require a proof"
            }
            Self::Verified => {
                "nobody acts as somebody without a proof: a service-auth token, a socket token or a ticket"
            }
        }
    }

    /// How far a claim without a proof is believed. `has_proven`: that DID once showed a proof
    /// here.
    pub fn without_proof(self, has_proven: bool) -> Standing {
        match self {
            Self::Open => Standing::Believed,
            Self::Mixed if !has_proven => Standing::Present,
            Self::Mixed | Self::Verified => Standing::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c06_a_word_that_is_no_mode_does_not_open_the_service() {
        for (text, mode) in [
            ("open", AuthMode::Open),
            ("mixed", AuthMode::Mixed),
            ("verified", AuthMode::Verified),
            ("Open", AuthMode::Verified),
            ("none", AuthMode::Verified),
            ("", AuthMode::Verified),
        ] {
            assert_eq!(AuthMode::named(text), mode, "{text}");
        }
        for mode in [AuthMode::Open, AuthMode::Mixed, AuthMode::Verified] {
            assert_eq!(AuthMode::named(mode.name()), mode);
        }
    }

    #[test]
    fn b03_x05_x13_what_a_claim_without_a_proof_comes_to() {
        for (mode, has_proven, expected) in [
            (AuthMode::Open, false, Standing::Believed),
            (AuthMode::Open, true, Standing::Believed),
            (AuthMode::Mixed, false, Standing::Present),
            (AuthMode::Mixed, true, Standing::Nobody),
            (AuthMode::Verified, false, Standing::Nobody),
            (AuthMode::Verified, true, Standing::Nobody),
        ] {
            assert_eq!(mode.without_proof(has_proven), expected, "{mode:?}, proven before: {has_proven}");
        }
    }
}
