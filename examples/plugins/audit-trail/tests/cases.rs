//! The golden cases in `cases/`, natively and in the sandbox.

rowmill_sdk::cases!(change audit_trail::AuditTrail);
