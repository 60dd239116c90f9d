//! Randomness of the operating system.

/// So many random bytes, or why there are none.
pub(crate) fn draw<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}
