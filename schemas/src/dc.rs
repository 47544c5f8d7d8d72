//! Data centres by name.

crate::name::name_type! {
    /// A data centre: a site with its own log and its own nodes, such as `eqiad`.
    Dc
}
