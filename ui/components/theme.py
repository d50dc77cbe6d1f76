"""The look: one accent and one neutral scale, from which light and dark are both made; system fonts, nothing fetched.

The scales below become Gradio's theme variables (`--primary-*`, `--neutral-*`); `studio.css` names their uses once for
light and once for dark (`--ink`, `--paper`, `--line`, `--accent`, ...) and everything else speaks in those names.
"""

from gradio.themes import Base
from gradio.themes.utils import sizes
from gradio.themes.utils.colors import Color

from ui import static

HEAD = "".join(
    f"<{tag}>{static.read(name)}</{tag}>"
    for tag, name in (
        ("style", "studio.css"),
        ("style", "rate/rate.css"),
        ("style", "text.css"),
        ("style", "rows.css"),
        ("style", "rate/tabs.css"),
        ("style", "chat/chat.css"),
        ("script", "studio.js"),
        ("script", "typed.js"),
        ("script", "forms.js"),
        ("script", "tokens.js"),
        ("script", "tour.js"),
        ("script", "folds.js"),
        ("script", "charts.js"),
        ("script", "chart_files.js"),
        ("script", "chart_table.js"),
    )
)
"""Style and script of every page, put into its head as they are: Gradio's own `css=` rewrites selectors."""

ACCENT = Color(
    "#eaf5f4", "#cfe9e7", "#a2d5d2", "#6cbbb7", "#3d9d99", "#1f827e", "#116c69", "#0d5856", "#0c4746", "#0a3838", "#052222",
    name="petrol",
)  # fmt: skip
NEUTRAL = Color(
    "#f7f8f8", "#eef0f0", "#dfe3e4", "#c5cccd", "#98a2a5", "#6d787b", "#535d60", "#3f484b", "#2a3234", "#1c2224", "#131819",
    name="graphite",
)  # fmt: skip
SANS = (
    "ui-sans-serif",
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Helvetica Neue",
    "Liberation Sans",
    "sans-serif",
)
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "Menlo", "DejaVu Sans Mono", "monospace")


def theme() -> Base:
    """Return the Gradio theme of the studio."""
    base = Base(
        primary_hue=ACCENT,
        secondary_hue=ACCENT,
        neutral_hue=NEUTRAL,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_sm,
        text_size=sizes.text_md,
        font=SANS,
        font_mono=MONO,
    )
    return base.set(**_pairs(_LIGHT_DARK), **_PLAIN)


_LIGHT_DARK = {
    "body_background_fill": ("*neutral_50", "*neutral_950"),
    "body_text_color": ("*neutral_900", "*neutral_100"),
    "body_text_color_subdued": ("*neutral_600", "*neutral_400"),
    "background_fill_primary": ("white", "*neutral_900"),
    "background_fill_secondary": ("*neutral_50", "*neutral_900"),
    "block_background_fill": ("transparent", "transparent"),
    "block_border_color": ("*neutral_200", "*neutral_800"),
    "block_label_background_fill": ("transparent", "transparent"),
    "block_label_text_color": ("*neutral_700", "*neutral_300"),
    "block_title_text_color": ("*neutral_800", "*neutral_200"),
    "block_info_text_color": ("*neutral_600", "*neutral_400"),
    "border_color_primary": ("*neutral_200", "*neutral_800"),
    "border_color_accent": ("*primary_600", "*primary_400"),
    "color_accent_soft": ("*primary_50", "*primary_950"),
    "input_background_fill": ("white", "*neutral_900"),
    "input_background_fill_focus": ("white", "*neutral_900"),
    "input_border_color": ("*neutral_300", "*neutral_700"),
    "input_border_color_focus": ("*primary_600", "*primary_400"),
    "input_placeholder_color": ("*neutral_500", "*neutral_500"),
    "input_shadow_focus": ("0 0 0 2px *primary_100", "0 0 0 2px *primary_900"),
    "panel_background_fill": ("transparent", "transparent"),
    "button_primary_background_fill": ("*primary_700", "*primary_300"),
    "button_primary_background_fill_hover": ("*primary_800", "*primary_200"),
    "button_primary_text_color": ("white", "*neutral_950"),
    "button_primary_text_color_hover": ("white", "*neutral_950"),
    "button_primary_border_color": ("*primary_700", "*primary_300"),
    "button_secondary_background_fill": ("white", "*neutral_900"),
    "button_secondary_background_fill_hover": ("*neutral_100", "*neutral_800"),
    "button_secondary_text_color": ("*neutral_900", "*neutral_100"),
    "button_secondary_text_color_hover": ("*neutral_900", "*neutral_100"),
    "button_secondary_border_color": ("*neutral_300", "*neutral_700"),
    "checkbox_background_color": ("white", "*neutral_800"),
    "checkbox_border_color": ("*neutral_400", "*neutral_600"),
    "checkbox_background_color_selected": ("*primary_700", "*primary_400"),
    "checkbox_border_color_selected": ("*primary_700", "*primary_400"),
    "checkbox_label_background_fill": ("white", "*neutral_900"),
    "checkbox_label_background_fill_hover": ("*neutral_100", "*neutral_800"),
    "checkbox_label_background_fill_selected": ("*primary_50", "*primary_950"),
    "checkbox_label_border_color": ("*neutral_300", "*neutral_700"),
    "checkbox_label_border_color_selected": ("*primary_700", "*primary_400"),
    "checkbox_label_text_color_selected": ("*primary_800", "*primary_200"),
    "error_background_fill": ("#fdf3f1", "#2a1713"),
    "error_border_color": ("#b3402e", "#e58b7a"),
    "error_text_color": ("#8f2f20", "#f0a596"),
    "loader_color": ("*primary_600", "*primary_300"),
    "slider_color": ("*primary_700", "*primary_300"),
    "link_text_color": ("*primary_700", "*primary_300"),
    "link_text_color_hover": ("*primary_800", "*primary_200"),
}
_PLAIN = {
    "block_border_width": "0px",
    "block_shadow": "none",
    "block_padding": "0px",
    "block_label_text_size": "*text_sm",
    "block_title_text_weight": "600",
    "block_title_text_size": "*text_sm",
    "block_info_text_size": "*text_sm",
    "button_border_width": "1px",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "button_large_text_size": "*text_md",
    "button_large_text_weight": "600",
    "button_large_padding": "10px 16px",
    "input_border_width": "1px",
    "input_shadow": "none",
    "input_padding": "9px 12px",
    "layout_gap": "16px",
    "form_gap_width": "0px",
    "checkbox_label_shadow": "none",
    "checkbox_label_padding": "8px 12px",
}


def _pairs(tokens: dict[str, tuple[str, str]]) -> dict[str, str]:
    return {name: light for name, (light, _) in tokens.items()} | {
        f"{name}_dark": dark for name, (_, dark) in tokens.items()
    }
