//! Stores by name.

crate::name::name_type! {
    /// A store: a namespace of sessions with its own rules, such as `sessions`.
    StoreName
}
