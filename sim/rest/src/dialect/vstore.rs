//! vStores: virtual arrays. The administrator makes and deletes them; a vStore's session sees its own.

use sanbench_array::{Command, SYSTEM_VSTORE, VStore};

use crate::codes::{self, Topic};
use crate::dialect::{Ground, count, page};
use crate::envelope::{Answer, Object, Reply, done};
use crate::routes::{NAMED, RENAMED, Route, delete, get, post, put};

fn object(vstore: &VStore) -> Object {
    Object::new()
        .number("ID", vstore.id)
        .text("NAME", vstore.name.as_str())
        .text("TYPE", "16442")
        .text("DESCRIPTION", vstore.description.as_str())
        .text("HEALTHSTATUS", "1")
        .text("RUNNINGSTATUS", "27")
}

/// The calls on vStores.
pub(crate) const ROUTES: &[Route] = &[
    get("vstore", "vStores; a session of one sees its own.", |ground, call| {
        Ok(Reply::List(page(call, visible(ground).iter().map(object))?))
    })
    .list(),
    get("vstore/count", "How many vStores there are.", |ground, _| count(visible(ground).len())),
    post("vstore", "Make a vStore.", |ground, call| {
        let (name, description) = call.name_and_description()?;
        let made = ground.apply_to_array(Command::CreateVStore { name, description }, Topic::Host)?;
        one(ground, made.id().ok_or(codes::BUSY)?)
    })
    .takes(&[NAMED]),
    get("vstore/{id}", "A vStore.", |ground, call| one(ground, call.id_at(1, codes::VSTORE_MISSING)?)),
    put("vstore/{id}", "Rename a vStore.", |ground, call| {
        let vstore = call.id_at(1, codes::VSTORE_MISSING)?;
        let name = call.fields.text("NAME")?.map(|name| name.into_owned());
        let description = call.fields.text("DESCRIPTION")?.map(|text| text.into_owned());
        ground.apply_to_array(Command::UpdateVStore { vstore, name, description }, Topic::Host)?;
        one(ground, vstore)
    })
    .takes(&[RENAMED]),
    delete("vstore/{id}", "Delete a vStore without objects.", |ground, call| {
        let vstore = call.id_at(1, codes::VSTORE_MISSING)?;
        ground.apply_to_array(Command::DeleteVStore { vstore }, Topic::Host)?;
        done()
    }),
];

/// Those that the call sees, the array's own first.
fn visible(ground: &Ground<'_>) -> Vec<VStore> {
    let array = &*ground.array;
    let own = array.vstore_by_name(array.vstore_name(SYSTEM_VSTORE));
    let all = own.into_iter().chain(array.vstores().cloned());
    all.filter(|vstore| ground.vstore.is_none_or(|only| only == vstore.id)).collect()
}

fn one(ground: &Ground<'_>, id: u64) -> Answer {
    let found = visible(ground).into_iter().find(|vstore| vstore.id == id);
    found.map(|vstore| Reply::One(object(&vstore))).ok_or_else(|| codes::VSTORE_MISSING.into())
}
