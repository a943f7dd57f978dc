//! The conditions on versions and sequence numbers that a write can set.

use crate::error::EsError;

/// The primary term of all documents: the store never fails over.
pub(crate) const PRIMARY_TERM: i64 = 1;

/// How the version of a write is compared with the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum VersionType {
    /// The store counts versions itself.
    #[default]
    Internal,
    /// The version has to be greater than the stored one.
    External,
    /// The version has to be greater than the stored one or equal to it.
    ExternalGte,
}

impl VersionType {
    /// Returns the version type of this name.
    pub(crate) fn of(name: &str) -> Result<VersionType, EsError> {
        match name {
            "internal" => Ok(VersionType::Internal),
            "external" | "external_gt" => Ok(VersionType::External),
            "external_gte" => Ok(VersionType::ExternalGte),
            other => Err(EsError::illegal_argument(format!("No version type match [{other}]"))),
        }
    }
}

/// The conditions of one write.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Guard {
    pub(crate) version: Option<i64>,
    pub(crate) version_type: VersionType,
    pub(crate) if_seq_no: Option<i64>,
    pub(crate) if_primary_term: Option<i64>,
}

impl Guard {
    /// Returns true if the write gives a version or a version type.
    pub(crate) fn is_versioned(&self) -> bool {
        self.version.is_some() || self.version_type != VersionType::Internal
    }

    /// Adds the contradictions among the conditions to `problems`.
    pub(crate) fn validate(&self, is_create: bool, has_id: bool, problems: &mut Vec<String>) {
        let mut refuse = |problem: String| problems.push(problem);
        if is_create && self.is_versioned() {
            return refuse("create operations only support internal versioning".into());
        }
        if !has_id && self.is_versioned() {
            refuse("an id must be provided if version type or value are set".into());
        }
        match (self.version_type, self.version) {
            (VersionType::Internal, None) => {}
            (VersionType::Internal, Some(_)) => refuse("internal versioning cannot be used for a condition".into()),
            (_, Some(version)) if version >= 0 => {}
            (_, version) => refuse(format!("illegal version value [{}]", version.unwrap_or(-1))),
        }
        if self.if_seq_no.is_some() != self.if_primary_term.is_some() {
            refuse("if_seq_no and if_primary_term have to be given together".into());
        }
    }

    /// Compares the condition on sequence numbers with the document's number, `None` if there is no document.
    pub(crate) fn check_seq_no(&self, id: &str, current: Option<i64>) -> Result<(), EsError> {
        let (Some(seq_no), Some(term)) = (self.if_seq_no, self.if_primary_term) else {
            return Ok(());
        };
        match current {
            Some(current) if current == seq_no && term == PRIMARY_TERM => Ok(()),
            Some(current) => Err(conflict(id, &format!("required seqNo [{seq_no}], current seqNo is [{current}]"))),
            None => Err(conflict(id, &format!("required seqNo [{seq_no}], but no document was found"))),
        }
    }

    /// Returns the version of the document to write, given the stored version, if any.
    pub(crate) fn next_version(&self, id: &str, current: Option<i64>) -> Result<i64, EsError> {
        let refused = |current: i64, version: i64| {
            Err(conflict(id, &format!("current version [{current}], provided version [{version}]")))
        };
        match (self.version_type, self.version, current) {
            (VersionType::Internal, ..) | (_, None, _) => Ok(current.map_or(1, |current| current.saturating_add(1))),
            (VersionType::External, Some(version), Some(current)) if current >= version => refused(current, version),
            (VersionType::ExternalGte, Some(version), Some(current)) if current > version => refused(current, version),
            (_, Some(version), _) => Ok(version),
        }
    }
}

/// `version_conflict_engine_exception`, status 409.
pub(crate) fn conflict(id: &str, reason: &str) -> EsError {
    EsError::new(409, "version_conflict_engine_exception", format!("[{id}]: version conflict, {reason}"))
}
