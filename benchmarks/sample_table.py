"""The choice of files behind ``examples/pairs``: paths inside the packages, in order."""

from __future__ import annotations

PUBLIC_DOMAIN = "Public domain"

# Paths below usr/share/openclipart/png, without ".png".
CLIP_ART = [
    "transportation/ambulans_romus_01",
    "food/apple_bitten_dan_gerhard_01",
    "geography/astronomy/05_fullmoon_openclipart_01",
    "tools/axe_peterm_",
    "people/bach_ganson",
    "people/backpacker_ganson",
    "office/ballpoint_pen_jonathan_d_01",
    "animals/bat_orlando_karam_",
    "food/beverages/teapot_ganson",
    "food/beverages/bottled_drink",
    "food/beverages/coffee_ganson",
    "transportation/big_truck_01",
    "animals/birds/owl_on_branch_ganson",
    "animals/birds/emperor_penguin_ralf_ste_01",
    "animals/birds/eagle_01",
    "animals/fish/clown_loach_01",
    "animals/turtle_jurgen_gaeremyn_01",
    "animals/red-eye_frog_mirko_maisc_01",
    "buildings/water_tower_ganson",
    "buildings/eiffel_tower_michael_ja_r",
    "buildings/grain_elevator_ganson",
    "buildings/school_country__abiclipa_01",
    "tools/trowel_benji_park_01",
    "tools/toothbrush_and_paste_ganson",
    "plants/trees/bowsaw_benji_park_01",
    "plants/trees/evergreen/tree_02",
    "plants/trees/fern_mo_01",
    "geography/spyglass_vladimir_hernan_01",
    "geography/world_map_saint_",
    "geography/ayers_rock_ganson",
    "recreation/toys/rubik_s_cube_petri_lumme_01",
    "recreation/toys/robot_ganson",
    "recreation/toys/surfboard_davek_01",
    "recreation/games/chess/chesspieces-queen",
    "special/patterns/pattern-arches-intersecting-1",
    "special/patterns/pattern-arches-intersecting-2",
    "recreation/holiday/footprints_in_sand_ganson",
    "office/mars_lumograph_drawing__01",
    "office/addressed_envelope_with_stamp_01",
    "food/vegetables/cayennepepperrevisited_d_01",
    "food/vegetables/corn_cob",
    "food/vegetables/onion_joerg_rosenbauer_01",
    "electronics/transistor",
    "electronics/bulb/lightbulb_jon_phillips_01",
    "transportation/formula_one_car_gerald_g_01",
    "transportation/fire_engine_romus_01",
    "people/woman_doctor_gerald_g._01",
    "signs_and_symbols/weather/lightning_jon_phillips_01",
    "signs_and_symbols/two_star_rating_saurabh__01",
]

_KERALA = ("CC-BY-SA-3.0", "VHSS Irimpanam school, Kerala, via Vimal Joseph")
_LYNCH = ("CC-BY-SA-2.5", "Erinn Lynch")
_NOAA = (PUBLIC_DOMAIN, "United States NOAA library")
_TILES = (PUBLIC_DOMAIN, "Nicu Buculei")
_SIGNS = (PUBLIC_DOMAIN, "Wikipedia user Ds13, traced by Caroline Ford")
_CANES = (PUBLIC_DOMAIN, "Kathleen French")

# Path below usr/share/tuxpaint/stamps (without ".png"), caption language, licence, author:
# the licences are those that the upstream changelog names for each file.  Chinese captions that
# are wrong ("carnation" for an anthurium, say) were passed over for the English ones.
STAMPS: list[tuple[str, str, str, str]] = [
    ("plants/flowers/adeenia", "zh_CN", *_KERALA),
    ("plants/flowers/anthoorium", "en", *_KERALA),
    ("plants/flowers/appooppanthady", "zh_CN", *_KERALA),
    ("plants/flowers/bolsom", "en", *_KERALA),
    ("plants/flowers/chemparathi", "zh_CN", *_KERALA),
    ("plants/flowers/plastic/chuvanna_plastic_poo", "en", *_KERALA),
    ("seasonal/christmas/Candy_cane_photo_1", "en", *_CANES),
    ("seasonal/christmas/Candy_cane_photo_2", "zh_CN", *_CANES),
    ("seasonal/christmas/Christmas_Tree_photo", "zh_CN", PUBLIC_DOMAIN, "Jorge Barrios"),
    ("seasonal/christmas/Mince_Pie", "en", "CC-BY-2.5", "Jmb at Wikipedia"),
    ("seasonal/christmas/Roast_turkey", "en", "CC-BY-2.0", "Patrick Fitzgerald"),
    ("animals/fish/shrimp", "zh_CN", *_NOAA),
    ("animals/fish/seahorse", "zh_CN", *_NOAA),
    ("animals/birds/pelican", "en", *_LYNCH),
    ("animals/birds/heron_greatblue_flying", "en", *_LYNCH),
    ("animals/birds/heron_greatblue", "en", *_LYNCH),
    ("town/monuments/inukshuk-photo", "en", "CC-BY-SA-2.5", "Ansgar Walk"),
    ("town/cartoon/shipwreck", "zh_CN", *_TILES),
    ("town/cartoon/wishing_well", "en", *_TILES),
    ("town/houses/cartoon/windmill", "zh_CN", *_TILES),
    ("town/houses/cartoon/circus", "zh_CN", *_TILES),
    ("town/houses/cartoon/cathedral", "zh_CN", *_TILES),
    ("town/monuments/cartoon/sword_in_the_stone", "en", *_TILES),
    ("town/monuments/cartoon/pyramid", "zh_CN", *_TILES),
    ("town/monuments/cartoon/totem", "zh_CN", *_TILES),
    ("symbols/alphabets/asl/asl_a", "en", *_SIGNS),
    ("symbols/alphabets/asl/asl_l", "zh_CN", *_SIGNS),
    ("symbols/alphabets/asl/asl_w", "en", *_SIGNS),
    ("symbols/alphabets/asl/asl_y", "zh_CN", *_SIGNS),
]

# Manual -> end of the image's path.  Three figures appear in English and in Chinese.
MANUAL_FIGURES: dict[str, list[str]] = {
    "gimp-en": [
        "using/24-scalable-brushes.png",
        "using/brush-dynamics.jpg",
        "using/new-free-select-tool.png",
        "filters/edge-detect/gradient-calculation-fig.png",
        "using/wilber-simple-nogrid.png",
        "using/default-layer-mode-dissolve-100.jpg",
        "filters/examples/diffraction1.png",
        "filters/examples/edge-taj-edge-gradient.jpg",
        "filters/examples/map/little_planet-default.jpg",
        "filters/examples/taj_orig.jpg",
        "filters/examples/light-and-shadow/vignette-ex-oncanvas.jpg",
        "tutorials/quickie-crop-example-result.jpg",
        "tutorials/quickie-background-free-select.jpg",
        "using/path-stroking-examples.png",
    ],
    "gimp-zh": [
        "using/24-scalable-brushes.png",
        "using/brush-dynamics.jpg",
        "using/new-free-select-tool.png",
        "using/24-refreshed-look.png",
        "using/text-tool.png",
    ],
    "handbook-zh": [
        "images/inst-autopartman-mode.png",
        "images/inst-mirror.png",
        "images/inst-basesystem.png",
        "images/release-cycle.png",
        "images/package-lifecycle.png",
    ],
    "kicad-zh": [
        "zh/preferences_common.png",
        "zh/board_setup_predefined_sizes.png",
        "zh/pcbnew_interactive_router_settings.png",
        "zh/plot_dialog.png",
        "zh/drc_control.png",
    ],
}
# Two files get Chinese names, as people's folders have them.
CHINESE_NAMES = {
    "images/inst-autopartman-mode.png": "自动分区.png",
    "zh/preferences_common.png": "偏好设置.png",
}

# Files saved again in another form: path, caption language ("" for clip art), what to make.
CONVERTED: list[tuple[str, str, str]] = [
    ("people/beach_trip_ganson", "", "jpeg"),
    ("buildings/factory_gabrielle_nowick_", "", "jpeg"),
    ("transportation/tramway_lumen_design_stu_01", "", "cmyk-jpeg"),
    ("animals/birds/gull_marcelo_staudt_01", "", "progressive-jpeg"),
    ("geography/astronomy/moon-half", "", "grey16-png"),
    ("animals/birds/turkey_on_platter_01", "", "palette-png"),
    ("recreation/sports/volley_ball_angelo_gelmi_01", "", "tiff"),
    ("animals/sailor_monkey_nicu_bucul_01", "", "bmp"),
    ("geography/astronomy/01_nomoon_openclipart_c._01", "", "animated-gif"),
    ("animals/fish/lobster", "en", "rotated-jpeg"),
    ("medical/stethoscope", "zh_CN", "adobe-rgb-jpeg"),
    ("military/vehicles/f22_raptor", "en", "webp"),
]
CONVERTED_STAMPS = {
    "animals/fish/lobster": _NOAA,
    "medical/stethoscope": (PUBLIC_DOMAIN, "unknown"),
    "military/vehicles/f22_raptor": (PUBLIC_DOMAIN, "TSgt Ben Bloker, U.S. Air Force"),
}

# Clip art behind the bad files, by the name of the problem.
BAD_CLIP_ART = {
    "truncated": "people/water_skier_ganson",
    "no-text": "food/beverages/orange_juice_box_bw",
    "empty-text": "recreation/toys/beach_ball_01",
}
GBK_STAMP = ("town/monuments/cartoon/statue", "zh_CN", *_TILES)
# Pairs with their texts swapped, and the pairs that get a copy; all by path.
SWAPPED = ("food/beverages/teapot_ganson", "animals/birds/pelican")
EXACT_COPY = "recreation/toys/robot_ganson"
NEAR_COPY = "buildings/water_tower_ganson"
