//! Faults of clocks: a box's and Redis's, set while they run.

use std::time::Duration;

use crate::chaos::{stack::set_clock, tell, trial::Scene};

/// How long each setting stays: a beat comes every 5 s.
const STAYS: Duration = Duration::from_secs(8);

/// Sets the clock so many hours ahead or behind, one after the other.
pub(super) async fn set(scene: &mut Scene, hours: &[i64]) -> anyhow::Result<()> {
    for hours in hours {
        set_clock(scene.stack.folder(), 3600 * hours)?;
        tell(format_args!("the clock differs by {hours} h"));
        tokio::time::sleep(STAYS).await; // a wrong clock for so long is the fault
    }
    Ok(())
}
