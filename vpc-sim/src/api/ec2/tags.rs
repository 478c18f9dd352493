//! Tags, put on what there is.

use super::{
    call::{Asked, Entry, tags},
    params::Params,
    write::done,
};
use vpc::{Action, Ec2Error, authorize::Ask};

pub(super) const CALLS: &[Entry] = &[(Action::CREATE_TAGS, create)];

fn create(p: &mut Params) -> Result<Asked, Ec2Error> {
    let resources = p.list::<String>("ResourceId")?;
    if resources.is_empty() {
        return Err(Ec2Error::missing("ResourceId"));
    }
    let tags = tags(p)?;
    if tags.is_empty() {
        return Err(Ec2Error::missing("Tag"));
    }
    let ask = Ask { tags: tags.clone(), ..Ask::about(resources.clone()) };
    let asked = Asked::to(move |scene| done(scene.vpc.create_tags(&resources, &tags)));
    Ok(Asked { ask, ..asked })
}
